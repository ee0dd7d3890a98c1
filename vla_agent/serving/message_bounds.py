"""What a message of msgpack claims, counted before any object is made: 16 MB of empty maps take seconds to unpack."""

from __future__ import annotations

from vla_agent.files.input_limits import DEPTH, MESSAGE_NODES

# First byte -> bytes of the length that follows it, and what that length counts.
VALUE, TEXT, LIST, MAP = range(4)
_LENGTHS = {0xC4: (1, TEXT), 0xC5: (2, TEXT), 0xC6: (4, TEXT), 0xD9: (1, TEXT), 0xDA: (2, TEXT), 0xDB: (4, TEXT)}
_LENGTHS |= {0xDC: (2, LIST), 0xDD: (4, LIST), 0xDE: (2, MAP), 0xDF: (4, MAP)}
# First byte -> bytes of the value that follows it.
_VALUES = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_VALUES |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def check_message(data: bytes, most: int = MESSAGE_NODES, depth: int = DEPTH) -> None:
    """Check number and depth of the values in a message.

    Raises:
        ValueError: more than ``most`` values, keys, lists and maps; deeper than ``depth``; extension types; or it ends
            too early.
    """
    place, count = 0, 0
    left = [1]  # values that are still to come in each open list or map
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        count += 1
        if count > most:
            raise ValueError(f"more than {most:,} values")
        if place >= len(data):
            raise ValueError("the message ends too early")
        kind, size, place = _head(data, place)
        if kind in (LIST, MAP):
            left.append(size * (2 if kind == MAP else 1))
            if len(left) - 1 > depth:
                raise ValueError(f"nested more than {depth} levels deep")
        else:
            place += size
    if place != len(data):
        raise ValueError("the message ends too early" if place > len(data) else "bytes after the message")


def _head(data: bytes, place: int) -> tuple[int, int, int]:
    """Kind and size of the value at ``place``, and the place after its head."""
    first = data[place]
    place += 1
    if first < 0x80 or first >= 0xE0:
        return VALUE, 0, place
    if first < 0x90:
        return MAP, first & 15, place
    if first < 0xA0:
        return LIST, first & 15, place
    if first < 0xC0:
        return TEXT, first & 31, place
    if first in _VALUES:
        return VALUE, _VALUES[first], place
    if first not in _LENGTHS:
        raise ValueError(f"a value of the extension type {first:#x}")
    width, kind = _LENGTHS[first]
    return kind, int.from_bytes(data[place : place + width], "big"), place + width
