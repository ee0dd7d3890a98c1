"""Thrift's compact protocol, as far as Parquet's headers need it: a struct's numbers, within a budget."""

from __future__ import annotations

from typing import Any

MOST_DEPTH = 16
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


class ThriftReader:
    """Reads structs from bytes.

    Args:
        data: the bytes.
        most: fields and elements that may be read.

    Raises:
        ValueError: damaged, nested too deeply, or more than ``most``.
    """

    def __init__(self, data: bytes | memoryview, most: int) -> None:
        self._data, self._left = data, most
        self.place = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """A struct's fields by number: whole numbers, structs; strings and lists as their length."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != STOP:
            self._spend(depth)
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth + 1, field=True)
        return fields

    def _value(self, kind: int, depth: int, field: bool = False) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE if field else self._byte() == TRUE
        if kind == BYTE:
            return self._byte()
        if kind < DOUBLE:
            return self._zigzag()
        if kind in (DOUBLE, BINARY):
            return self._skip(8 if kind == DOUBLE else self._varint())
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == MAP:
            return self._map(depth)
        if kind == STRUCT:
            return self.struct(depth)
        raise ValueError(f"a header holds a value of kind {kind}")

    def _list(self, depth: int) -> int:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        for _ in range(size):
            self._spend(depth)
            self._value(head & 15, depth + 1)
        return size

    def _map(self, depth: int) -> int:
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._spend(depth)
            self._value(kinds >> 4, depth + 1)
            self._value(kinds & 15, depth + 1)
        return size

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise ValueError("a header has more fields than any that is expected")

    def _skip(self, size: int) -> int:
        self.place += size
        if self.place > len(self._data):
            raise ValueError("a header ends too early")
        return size

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.place - 1]

    def _varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a header holds a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
