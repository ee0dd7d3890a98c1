"""Arrays from elsewhere: what an archive claims is checked before it is allocated."""

import struct
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from vla_agent.errors import DatasetError
from vla_agent.files.bounded_arrays import read_arrays


def archive(tmp_path, **members):
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in members.items():
            written.writestr(f"{name}.npy", data)
    return file


def header(shape, dtype="|u1", data=b"", fortran=False):
    text = repr({"descr": dtype, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def test_what_numpy_writes_is_read(tmp_path):
    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "c": np.zeros((0, 3), np.uint8),
        "d": np.array(5),
        "e": np.array(["text", "x"]),
        "f": np.arange(3 * 2**20, dtype=np.uint8),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_arrays(tmp_path / "a.npz", DatasetError)
        assert list(found) == list(arrays)
        for name, values in arrays.items():
            assert found[name].dtype == values.dtype and found[name].shape == values.shape
            assert (found[name] == values).all() and found[name].flags.writeable
    assert list(read_arrays(tmp_path / "a.npz", DatasetError, names=("b", "d"))) == ["b", "d"]
    with pytest.raises(KeyError):
        read_arrays(tmp_path / "a.npz", DatasetError, names=("z",))


def test_uncompressed_bytes_at_the_limit_and_one_more(tmp_path):
    file = archive(tmp_path, a=header((1000,), data=bytes(1000)))
    size = zipfile.ZipFile(file).infolist()[0].file_size
    read_arrays(file, DatasetError, most=size)
    with pytest.raises(DatasetError, match="uncompressed"):
        read_arrays(file, DatasetError, most=size - 1)


def test_number_of_arrays(tmp_path):
    read_arrays(archive(tmp_path, a=header((0,)), b=header((0,))), DatasetError, count=2)
    with pytest.raises(DatasetError, match="3 arrays"):
        read_arrays(archive(tmp_path, a=header((0,)), b=header((0,)), c=header((0,))), DatasetError, count=2)


@pytest.mark.parametrize(
    "member",
    [
        header((10**12,)),
        header((2**40, 2**40)),
        header((1000,), data=bytes(900)),
        header((-1,), data=b"x"),
        header((1,) * 9, data=b"x"),
        header((1,), "|O", b"x"),
        header((1,), [("a", "<i4")], b"xxxx"),
        header((1,), "<M8[s]", bytes(8)),
        b"\x93NUMPY\x03\x00",
        b"",
        b"no array",
    ],
)
def test_a_header_that_does_not_fit_its_bytes_is_refused(tmp_path, member):
    with pytest.raises(ValueError):
        read_arrays(archive(tmp_path, a=member), DatasetError)


def test_a_damaged_archive_is_a_value_error(tmp_path):
    data = archive(tmp_path, a=header((1000,), data=np.random.default_rng(0).bytes(1000))).read_bytes()
    for changed in (data[:-30], data[:200] + b"\xff" * 50 + data[250:], b"PK", b""):
        (tmp_path / "a.npz").write_bytes(changed)
        with pytest.raises(ValueError):
            read_arrays(tmp_path / "a.npz", DatasetError)


def test_an_archive_that_states_less_than_it_holds(tmp_path):
    file = archive(tmp_path, a=header((2 * 10**6,), data=bytes(2 * 10**6)))
    data = bytearray(file.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1000)  # the uncompressed size in the directory
    file.write_bytes(data)
    with pytest.raises(ValueError):
        read_arrays(file, DatasetError)


def test_nothing_is_unpickled(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, a=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="object|dimensions"):
        read_arrays(file, DatasetError)


def test_an_archive_s_directory_is_bounded(tmp_path):
    """`zipfile` holds the whole directory in memory before it can be counted."""
    for comment, refused in ((60_000, False), (65_000, True)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as written:
            for number in range(17):
                entry = zipfile.ZipInfo(f"{number}.npy")
                entry.comment = bytes(comment)
                written.writestr(entry, b"")
        with pytest.raises(ValueError, match="a directory of 1,105,") if refused else nullcontext():
            assert read_arrays(tmp_path / "a.npz", DatasetError, names=[]) == {}
