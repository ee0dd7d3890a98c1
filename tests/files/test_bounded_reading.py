"""Everything foreign is bounded before it is allocated: each refusal at its limit and just inside it."""

import json
import os
import socket

import pytest

from vla_agent.errors import DatasetError
from vla_agent.files import bounded_reading
from vla_agent.files.bounded_reading import parse_json, read_bytes, read_json, read_lines, read_text


def write(tmp_path, data, name="file"):
    file = tmp_path / name
    file.write_bytes(data)
    return file


def test_size_at_the_limit_and_one_byte_more(tmp_path):
    assert read_bytes(write(tmp_path, b"x" * 10), DatasetError, most=10) == b"x" * 10
    with pytest.raises(DatasetError) as refused:
        read_bytes(write(tmp_path, b"x" * 11), DatasetError, most=10)
    assert (refused.value.key, refused.value.expected, refused.value.found) == ("size", "at most 10 bytes", "11 bytes")
    assert "input_limits" in refused.value.remedy


def test_a_file_that_states_no_size_is_bounded_while_it_is_read():
    with pytest.raises(DatasetError, match="larger than any"):
        read_bytes("/proc/kallsyms", DatasetError, most=1000)  # stat says 0 bytes


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for name, kind in (("fifo", "a FIFO"), ("socket", "a socket"), ("/dev/zero", "a device")):
        with pytest.raises(DatasetError, match=f"not a regular file(.|\n)*{kind}"):
            read_bytes(tmp_path / name, DatasetError)
    server.close()
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path, DatasetError)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none", DatasetError)


def test_a_link_is_followed_only_where_it_may_be(tmp_path):
    target = write(tmp_path, b"x")
    (tmp_path / "link").symlink_to(target)
    assert read_bytes(tmp_path / "link", DatasetError) == b"x"
    with pytest.raises(DatasetError, match="a link"):
        read_bytes(tmp_path / "link", DatasetError, links=False)


def test_text_is_utf_8(tmp_path):
    assert read_text(write(tmp_path, "ä".encode()), DatasetError) == "ä"
    with pytest.raises(DatasetError, match="UTF-8"):
        read_text(write(tmp_path, b"\xff"), DatasetError)


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_of_json(opening, closing):
    levels = opening.count("[") + opening.count("{")
    inside, outside = 8 // levels, 8 // levels + 1
    assert parse_json(opening * inside + "1" + closing * inside, "peer", DatasetError, depth=8)
    with pytest.raises(DatasetError, match="nested too deeply(.|\n)*at most 8 levels"):
        parse_json(opening * outside + "1" + closing * outside, "peer", DatasetError, depth=8)


@pytest.mark.parametrize("text", ["[[[[", "]]", "[" * 200_000, "[" * 33])
def test_depth_is_known_before_the_text_is_parsed(text):
    with pytest.raises((DatasetError, ValueError)):
        parse_json(text, "peer", DatasetError)


@pytest.mark.parametrize("value", ['"[[[["', r'"\"[[[["', r'"\\"', r'"\\\"[[["', '"]]"', "[]", '{"a": "["}'])
def test_brackets_inside_of_strings_are_no_depth(value):
    assert parse_json(value, "peer", DatasetError, depth=1) == json.loads(value)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "-1e999"])
def test_numbers_are_finite(text):
    with pytest.raises(DatasetError, match="finite"):
        parse_json(text, "peer", DatasetError)
    parse_json(text, "peer", DatasetError, finite=False)


def test_whole_numbers_of_64_bits():
    assert parse_json(str(2**64 - 1), "peer", DatasetError) == 2**64 - 1
    for text in (str(2**64), "1" * 5000):
        with pytest.raises(DatasetError, match="64 bits"):
            parse_json(text, "peer", DatasetError)


def test_a_key_twice_is_refused():
    assert parse_json('{"a": {"a": 1}}', "peer", DatasetError) == {"a": {"a": 1}}
    with pytest.raises(DatasetError, match="key twice"):
        parse_json('{"a": 1, "b": 2, "a": 3}', "peer", DatasetError)


def test_maps_and_lists_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(bounded_reading, "JSON_PARTS", 3)
    assert parse_json('[{}, {"a": "{["}]', "peer", DatasetError) == [{}, {"a": "{["}]
    with pytest.raises(DatasetError, match="at most 3"):
        parse_json("[{}, {}, []]", "peer", DatasetError)


def test_text_that_is_not_json_is_a_value_error(tmp_path):
    with pytest.raises(ValueError):
        read_json(write(tmp_path, b"{"), DatasetError)


def test_lines_are_read_one_by_one(tmp_path):
    file = write(tmp_path, b'{"a": 1}\n\n[2]\n')
    assert list(read_lines(file, DatasetError)) == [(1, {"a": 1}), (3, [2])]
    assert list(read_lines(file, DatasetError, most=14, longest=9))
    for bounds in ({"most": 13}, {"longest": 8}):
        with pytest.raises(DatasetError, match="larger than any"):
            list(read_lines(file, DatasetError, **bounds))


def test_a_long_line_names_its_number(tmp_path):
    file = write(tmp_path, b"1\n" + b"2" * 20)
    with pytest.raises(DatasetError) as refused:
        list(read_lines(file, DatasetError, longest=10))
    assert refused.value.file == f"{file}:2"


def test_the_depth_of_a_large_text_costs_little():
    assert bounded_reading.json_depth(b'{"a":["' + b'\\"[' * 300_000 + b'"]}') == 2
