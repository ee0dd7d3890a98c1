"""What a message claims is counted before any object is made."""

import struct

import pytest

msgpack = pytest.importorskip("msgpack")

from vla_agent.errors import ServingError  # noqa: E402
from vla_agent.serving.message_bounds import check_message  # noqa: E402
from vla_agent.serving.wire import unpack  # noqa: E402

VALUES = [
    *(None, True, False, 0, 127, 128, 2**16, 2**32, 2**63, -1, -32, -33, -(2**15), -(2**31), -(2**63), 1.5),
    *("", "a" * 31, "a" * 32, "a" * 300, "a" * 70_000, b"", b"a" * 10, b"a" * 300, b"a" * 70_000),
    *([], [1] * 15, [1] * 16, {}, {k: k for k in range(15)}, {k: k for k in range(16)}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__} {len(v) if hasattr(v, '__len__') else v}")
def test_every_type_is_walked_to_its_end(value):
    data = msgpack.packb({"a": [value, value], "b": value})
    check_message(data)
    for wrong in (data[:-1], data + b"\x00"):
        with pytest.raises(ValueError, match="ends too early|after the message"):
            check_message(wrong)


def test_small_and_large_floats():
    check_message(b"\xca" + struct.pack(">f", 1.5))
    check_message(b"\xcb" + struct.pack(">d", 1.5))


@pytest.mark.parametrize("value, nodes", [([0] * 9, 10), ({k: k for k in range(4)}, 9), ([[], [], [{}]], 5), ("a", 1)])
def test_values_at_the_limit_and_one_fewer(value, nodes):
    data = msgpack.packb(value)
    check_message(data, most=nodes)
    with pytest.raises(ValueError, match=f"more than {nodes - 1} values"):
        check_message(data, most=nodes - 1)


@pytest.mark.parametrize("one", [b"\x91", b"\x81\x00", b"\xdc\x00\x01", b"\xde\x00\x01\x00"])
def test_levels_at_the_limit_and_one_more(one):
    check_message(one * 4 + b"\x00", depth=4)
    with pytest.raises(ValueError, match="nested more than 4"):
        check_message(one * 5 + b"\x00", depth=4)


@pytest.mark.parametrize("first", [0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8])
def test_extensions_are_refused(first):
    with pytest.raises(ValueError, match="extension"):
        check_message(bytes([first, 1, 1, 1]))


@pytest.mark.parametrize("data", [b"", b"\xdd", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x92\x01", b"\xde"])
def test_claims_of_more_than_there_is(data):
    with pytest.raises(ValueError, match="ends too early"):
        check_message(data)


def test_a_message_of_empty_maps_is_refused_without_being_made():
    bomb = b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 4095
    with pytest.raises(ServingError, match="more than 16,384 values"):
        unpack(bomb)
