"""What an HDF5 file claims, checked before `h5py` allocates it: shapes, chunks, filters, and data of other files."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import DatasetError
from vla_agent.files.input_limits import HDF5_BYTES, HDF5_CHUNK, PICTURE_BYTES, PICTURE_PIXELS

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
RATIOS = {DEFLATE: 1032, LZF: 88}  # the most that these expand
FILTERS = {DEFLATE, SHUFFLE, FLETCHER32, LZF}
ATTRIBUTE_BYTES = 2**20
MOST_LINKS = 100_000  # of one group


def require_group(path: Path, group: Any) -> None:
    """Refuse links to other files, and groups with too many entries.

    Raises:
        DatasetError: the first such.
    """
    import h5py

    if len(group) > MOST_LINKS:
        raise _refused(path, group.name, f"at most {MOST_LINKS:,} entries", f"{len(group):,}")
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise _refused(path, f"{group.name}/{name}", "data in the file itself", "a link to another file")


def require_path(path: Path, group: Any, at: str) -> None:
    """Refuse a path through a link to another file."""
    import h5py

    place = group
    for part in [part for part in at.split("/") if part]:
        if not hasattr(place, "get") or not hasattr(place, "keys"):
            return
        if isinstance(place.get(part, getlink=True), h5py.ExternalLink):
            raise _refused(path, f"{group.name}/{at}", "data in the file itself", "a link to another file")
        place = place.get(part)


def require_numbers(path: Path, dataset: Any, whole: bool) -> None:
    """Refuse a dataset that would take too much memory, or that lies in other files.

    Args:
        path: the file.
        dataset: of numbers.
        whole: it is read at once; else row by row.

    Raises:
        DatasetError: shape, chunk, filter, storage or type is not within bounds.
    """
    if dataset.dtype.kind not in "biuf":
        raise _refused(path, dataset.name, "numbers", f"{dataset.dtype}"[:200])
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    row = size // max(dataset.shape[0], 1) if dataset.shape else size
    most = HDF5_BYTES if whole else 4 * PICTURE_PIXELS
    if (size if whole else row) > most:
        raise _refused(path, dataset.name, f"at most {most:,} bytes", f"{dataset.shape} {dataset.dtype}")
    if dataset.external or dataset.is_virtual:
        raise _refused(path, dataset.name, "data in the file itself", "data of another file")
    if dataset.chunks is not None:
        _check_chunks(path, dataset)


def is_bytes(dataset: Any) -> bool:
    """Whether each row is an encoded picture: bytes of one length (n, L), or of lengths of their own (n,)."""
    return bool(
        (dataset.ndim == 2 and dataset.dtype == np.uint8)
        or (dataset.ndim == 1 and (dataset.dtype.kind == "S" or _is_ragged(dataset)))
    )


def _is_ragged(dataset: Any) -> bool:
    import h5py

    text, numbers = h5py.check_string_dtype(dataset.dtype), h5py.check_vlen_dtype(dataset.dtype)
    return text is not None or numbers in (np.uint8, np.int8)


def require_bytes(path: Path, dataset: Any) -> None:
    """Refuse encoded pictures that take too much memory, or that lie in other files.

    Raises:
        DatasetError: size, chunk, filter or storage is not within bounds.
    """
    if dataset.external or dataset.is_virtual:
        raise _refused(path, dataset.name, "data in the file itself", "data of another file")
    width = dataset.dtype.itemsize * (dataset.shape[1] if dataset.ndim == 2 else 1)
    if width > PICTURE_BYTES:
        raise _refused(path, dataset.name, f"at most {PICTURE_BYTES:,} bytes a picture", f"{width:,}")
    if dataset.chunks is not None:
        _check_chunks(path, dataset)


def row_bytes(path: Path, dataset: Any, k: int) -> bytes:
    """The encoded picture of row ``k``, without the zeros after it."""
    row = dataset[k]
    data = row if isinstance(row, bytes) else row.encode("latin-1") if isinstance(row, str) else bytes(row.tobytes())
    if len(data) > PICTURE_BYTES:
        raise _refused(path, f"{dataset.name}, row {k}", f"at most {PICTURE_BYTES:,} bytes a picture", f"{len(data):,}")
    return data.rstrip(b"\0")


def _check_chunks(path: Path, dataset: Any) -> None:
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk > HDF5_CHUNK:
        raise _refused(path, dataset.name, f"chunks of at most {HDF5_CHUNK:,} bytes", f"{chunk:,}")
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(k)[0] for k in range(settings.get_nfilters())]
    if set(filters) - FILTERS or filters.count(DEFLATE) > 1:
        raise _refused(path, dataset.name, "filters deflate, lzf, shuffle, fletcher32", f"{filters}"[:200])
    ratio = math.prod(RATIOS.get(number, 1) for number in filters)
    for k in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(k)
        if info.size * ratio > HDF5_CHUNK and _expanded(dataset, info, filters) > chunk + 16:
            raise _refused(path, dataset.name, f"chunks of {chunk:,} bytes, as stated", "a chunk that expands to more")


def _expanded(dataset: Any, info: Any, filters: list[int]) -> int:
    """Bytes that a chunk decompresses to, as far as they are over its own size; 0 where it is not deflated."""
    if DEFLATE not in filters or info.filter_mask:
        return info.size if DEFLATE not in filters else 0
    _, data = dataset.id.read_direct_chunk(info.chunk_offset)
    decompressor = zlib.decompressobj()
    limit = math.prod(dataset.chunks) * dataset.dtype.itemsize + 32
    return len(decompressor.decompress(data, limit))


def attribute(path: Path, holder: Any, name: str) -> Any:
    """An attribute that is a text or a number; None where there is none.

    Raises:
        DatasetError: it is larger than any text that is expected.
    """
    if name not in holder.attrs:
        return None
    stored = holder.attrs.get_id(name)
    if math.prod(stored.shape) > 1 or stored.get_storage_size() > ATTRIBUTE_BYTES:
        found = f"{stored.shape}, {stored.get_storage_size():,} bytes"
        raise _refused(path, f"{holder.name}, attribute {name}", "one text", found)
    value = holder.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, (str, bytes)) and len(value) > ATTRIBUTE_BYTES:
        raise _refused(
            path, f"{holder.name}, attribute {name}", f"at most {ATTRIBUTE_BYTES:,} bytes", f"{len(value):,}"
        )
    return value


def _refused(path: Path, key: str, expected: str, found: str) -> DatasetError:
    return DatasetError(
        "an HDF5 file holds what is not read here",
        file=path,
        key=key,
        expected=expected,
        found=found,
        remedy="check that it is the right file; write it again with h5py's own defaults, in smaller chunks",
    )
