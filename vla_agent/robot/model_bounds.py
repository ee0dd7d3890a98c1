"""A robot's model (MJCF or URDF) within bounds before MuJoCo compiles it: no entities, and no huge elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers import expat

from vla_agent.errors import RobotError
from vla_agent.files.bounded_pictures import PictureError, picture_size
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.input_limits import MIB, PICTURE_BYTES

XML_BYTES = 16 * MIB
FILES = 64  # a model and what it includes
DEPTH = 128  # nested elements: a chain of bodies
ELEMENTS = 50_000
# Element -> attributes whose product is bounded, and the bound.
SIZES = {
    "replicate": (("count",), 1000),
    "composite": (("count",), 10_000),
    "flexcomp": (("count",), 100_000),
    "hfield": (("nrow", "ncol"), 4_000_000),
    "texture": (("width", "height"), 64_000_000),
}
MEMORY = ("memory", "nstack", "njmax", "nconmax", "nkey", "nuser_body", "nuser_geom", "nuserdata")
MEMORY_BYTES = 256 * MIB
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}


class _Model:
    """The elements of a model and of the files that it includes."""

    def __init__(self, path: Path, root: Path) -> None:
        self._folder, self._root = path.resolve().parent, root.resolve()
        self._elements = self._depth = 0
        self._rest = [path]
        self._seen: set[Path] = set()
        self._file = path

    def check(self) -> None:
        """Raise the first element that exceeds a bound."""
        while self._rest:
            self._file = self._rest.pop()
            if self._file in self._seen:
                continue
            self._seen.add(self._file)
            if len(self._seen) > FILES:
                raise self.refused("include", f"at most {FILES} files", "more")
            self.parse(read_bytes(self._file, RobotError, XML_BYTES))

    def parse(self, data: bytes) -> None:
        """Raise the first element of one file that exceeds a bound."""
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.EntityDeclHandler = parser.StartDoctypeDeclHandler = self._declared
        self._depth = 0
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise self.refused("model", "XML", str(error)) from error

    def _declared(self, *_: Any) -> None:
        raise self.refused("DOCTYPE, ENTITY", "XML without declarations of entities", "one")

    def _end(self, _: str) -> None:
        self._depth -= 1

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth, self._elements = self._depth + 1, self._elements + 1
        if self._depth > DEPTH or self._elements > ELEMENTS:
            raise self.refused(name, f"at most {ELEMENTS:,} elements, nested {DEPTH} deep", "more")
        if name in SIZES:
            keys, most = SIZES[name]
            size = math.prod(_number(part) for key in keys for part in attributes.get(key, "1").split())
            if size > most:
                raise self.refused(f"{name} {', '.join(keys)}", f"at most {most:,}", f"{size:,.0f}")
        if name == "size":
            for key in MEMORY:
                if _number(attributes.get(key, "0")) > MEMORY_BYTES:
                    raise self.refused(f"size {key}", f"at most {MEMORY_BYTES:,}", attributes[key][:40])
        if name == "include" and "file" in attributes:
            self._include(attributes["file"])
        if name in ("texture", "hfield") and attributes.get("file", "").lower().endswith(".png"):
            self._check_picture(attributes["file"])

    def _include(self, name: str) -> None:
        """An included file; one that lies elsewhere is not read (`model_files` refuses it)."""
        file = (self._folder / name).resolve()
        if file.is_relative_to(self._root):
            self._rest.append(file)

    def _check_picture(self, name: str) -> None:
        """A picture below the root, wherever ``texturedir`` says."""
        for file in (f.resolve() for f in islice(self._root.rglob(Path(name).name), 16)):
            if file.is_relative_to(self._root) and file.is_file():
                try:
                    picture_size(read_bytes(file, RobotError, PICTURE_BYTES))
                except PictureError as error:
                    raise self.refused(name[:200], error.expected, error.found) from error

    def refused(self, key: str, expected: str, found: str) -> RobotError:
        """The error for the file that is being read."""
        return RobotError(
            "the robot's model cannot be used",
            file=self._file,
            key=key,
            expected=expected,
            found=found,
            remedy="use a model whose XML holds the robot alone",
        )


def check_model(path: Path, root: Path) -> None:
    """Check a model and the files below ``root`` that it includes.

    Raises:
        RobotError: unreadable, no XML, entities, or too many or too large elements.
    """
    model = _Model(path, root)
    try:
        model.check()
    except OSError as error:
        raise model.refused("file", "a file that can be read", f"{error.filename}: {error.strerror}") from error


def check_text(data: bytes, path: Path, root: Path) -> None:
    """Check the text of a model that includes no others: a URDF, also one that xacro has made of ``path``.

    Raises:
        RobotError: no XML, entities, too long, or too many or too large elements.
    """
    model = _Model(path, root)
    if len(data) > XML_BYTES:
        raise model.refused("size", f"at most {XML_BYTES:,} bytes", f"{len(data):,}")
    model.parse(data)


def _number(text: str) -> float:
    """A size such as ``100`` or ``64M``; 0 where it is none, which MuJoCo refuses."""
    text = text.strip()
    unit = UNITS.get(text[-1:].upper(), 1)
    try:
        return float(text if unit == 1 else text[:-1]) * unit
    except ValueError:
        return 0.0
