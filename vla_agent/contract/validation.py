"""Values that no contract can have."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real

import numpy as np

from vla_agent.contract.layout import Camera, Field, Layout
from vla_agent.files.input_limits import NAME, SIDE

MOST_NUMBERS = 65_536  # of a field, and steps of a chunk: a file of some bytes must not ask for gigabytes
PARTS = ("cameras", "state", "action")


def impossible_values(contract: Layout) -> dict[str, str]:
    """Key -> value of everything that is impossible: no name or one twice, sizes, ranges, rate and chunk length."""
    wrong = _wrong_names(contract)
    for camera in contract.cameras:
        wrong |= dict(_wrong_in_camera(camera))
    for part, layout in (("state", contract.state), ("action", contract.action)):
        for field in layout:
            wrong |= dict(_wrong_in_field(part, field))
    if not (_is_number(contract.control_hz) and contract.control_hz > 0):
        wrong["control_hz"] = repr(contract.control_hz)
    if not isinstance(contract.language, str):
        wrong["language"] = repr(contract.language)
    if not 1 <= contract.chunk_length <= MOST_NUMBERS:
        wrong["chunk_length"] = str(contract.chunk_length)
    return wrong


def _wrong_names(contract: Layout) -> dict[str, str]:
    names = {part: [named.name for named in getattr(contract, part)] for part in PARTS}
    wrong = {
        part: given for part, given in names.items() if not given or _repeats(given) or not all(map(_is_name, given))
    }
    return {part: ", ".join(map(str, given)) or "nothing" for part, given in wrong.items()}


def _wrong_in_camera(camera: Camera) -> Iterator[tuple[str, str]]:
    if camera.color not in ("rgb", "bgr"):
        yield f"cameras.{camera.name}.color", str(camera.color)
    for key, size in (("height", camera.height), ("width", camera.width)):
        if not _is_size(size, SIDE):
            yield f"cameras.{camera.name}.{key}", repr(size)
    if camera.hz is not None and not (_is_number(camera.hz) and camera.hz > 0):
        yield f"cameras.{camera.name}.hz", repr(camera.hz)


def _wrong_in_field(part: str, field: Field) -> Iterator[tuple[str, str]]:
    if not _is_size(field.size, MOST_NUMBERS):
        yield f"{part}.{field.name}.size", repr(field.size)
    for key in ("unit", "frame", "rotation"):
        if not isinstance(text := getattr(field, key), str):
            yield f"{part}.{field.name}.{key}", repr(text)
    limits = [(key, limit) for key in ("low", "high") if (limit := getattr(field, key)) is not None]
    numbers = [limit for _, limit in limits if isinstance(limit, Real) and not isinstance(limit, bool)]
    if len(numbers) == 2 and not numbers[0] < numbers[1]:
        yield f"{part}.{field.name}.low", f"{field.low} to {field.high}"
    else:
        yield from ((f"{part}.{field.name}.{key}", repr(limit)) for key, limit in limits if not _is_number(limit))


def _repeats(names: list[str]) -> bool:
    return len(set(names)) < len(names)


def _is_name(name: object) -> bool:
    """Whether it can be a part of a file's name and of a line on a terminal."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME or name.strip(".") == "":
        return False
    return name.isprintable() and not set(name) & {"/", "\\"}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))


def _is_size(size: object, most: int) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= most
