"""What bags and HDF5 files claim: each bound at its limit and just over it."""

import sqlite3
import struct
import zlib

import numpy as np
import pytest

from vla_agent.data.convert import bag_claims, hdf5_claims
from vla_agent.errors import DatasetError

pytest.importorskip("rosbags")
h5py = pytest.importorskip("h5py")
MAGIC = b"\x89MCAP0\r\n"


# -- MCAP ------------------------------------------------------------------------------------------------------------


def record(kind, body):
    return bytes([kind]) + struct.pack("<Q", len(body)) + body


def message(time, size=10):
    return record(5, struct.pack("<HIQQ", 0, 0, time, time) + bytes(size))


def chunk(data, compression=b"", size=None, packed=None):
    packed = data if packed is None else packed
    head = struct.pack("<QQQI", 0, 0, len(data) if size is None else size, 0)
    return record(6, head + struct.pack("<I", len(compression)) + compression + struct.pack("<Q", len(packed)) + packed)


def index(place, size, compression=b"", compressed=None):
    body = struct.pack("<QQQQIQI", 0, 0, place, 0, 0, 0, len(compression)) + compression
    return record(8, body + struct.pack("<QQ", size if compressed is None else compressed, size))


def mcap(tmp_path, *records, summary=0):
    file = tmp_path / "a.mcap"
    file.write_bytes(MAGIC + b"".join(records) + record(2, struct.pack("<QQI", summary, 0, 0)) + MAGIC)
    return file


def zstd(data):
    return bag_claims._zstd().compress(data)


def lz4(data):
    return pytest.importorskip("lz4.frame").compress(data)


DATA = message(1, 1000) + message(2, 1000)


@pytest.mark.parametrize("name, pack", [(b"", lambda d: d), (b"zstd", zstd), (b"lz4", lz4)])
def test_a_chunk_decompresses_to_the_size_that_it_states(tmp_path, name, pack):
    bag_claims.check_bag(mcap(tmp_path, chunk(DATA, name, packed=pack(DATA))))
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(DatasetError, match="as it states"):
            bag_claims.check_bag(mcap(tmp_path, chunk(DATA, name, size, pack(DATA))))


@pytest.mark.parametrize("name, pack", [(b"zstd", zstd), (b"lz4", lz4)])
def test_several_frames_and_damaged_ones(tmp_path, name, pack):
    bag_claims.check_mcap(mcap(tmp_path, chunk(DATA, name, packed=pack(DATA[:500]) + pack(DATA[500:]))))
    with pytest.raises(ValueError):
        bag_claims.check_mcap(mcap(tmp_path, chunk(DATA, name, packed=pack(DATA)[:-9])))
    with pytest.raises(ValueError, match="compression"):
        bag_claims.check_mcap(mcap(tmp_path, chunk(DATA, b"bz2", packed=pack(DATA))))


def test_chunks_at_the_limit_and_just_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_claims, "CHUNK_BYTES", len(DATA))
    bag_claims.check_mcap(mcap(tmp_path, chunk(DATA)))
    monkeypatch.setattr(bag_claims, "CHUNK_BYTES", len(DATA) - 1)
    with pytest.raises(DatasetError, match="at most"):
        bag_claims.check_mcap(mcap(tmp_path, chunk(DATA)))


def test_records_of_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_claims, "CHUNK_RECORDS", 2)
    bag_claims.check_mcap(mcap(tmp_path, chunk(DATA)))
    with pytest.raises(DatasetError, match="at most 2 records"):
        bag_claims.check_mcap(mcap(tmp_path, chunk(DATA + message(3))))
    with pytest.raises(ValueError, match="outside of the chunk"):
        bag_claims.check_mcap(mcap(tmp_path, chunk(DATA[:-1])))


def test_chunks_that_overlap_in_time_are_in_memory_together(tmp_path, monkeypatch):
    parts = [chunk(message(k) + message(k + 1)) for k in (0, 10, 20)]
    size = len(message(0)) * 2
    monkeypatch.setattr(bag_claims, "CHUNKS_BYTES", size)
    bag_claims.check_mcap(mcap(tmp_path, *parts))
    with pytest.raises(DatasetError, match="overlap"):
        bag_claims.check_mcap(mcap(tmp_path, *parts, chunk(message(5) + message(15))))


def test_the_index_names_chunks_that_were_read(tmp_path):
    one = chunk(DATA)
    bag_claims.check_mcap(mcap(tmp_path, one, index(8, len(DATA))))
    for wrong in (index(9, len(DATA)), index(8, len(DATA) + 1), index(8, len(DATA), b"zstd"), record(8, b"short")):
        with pytest.raises(ValueError, match="index"):
            bag_claims.check_mcap(mcap(tmp_path, one, wrong))


def test_records_and_summary(tmp_path, monkeypatch):
    first = record(10, bytes(20))
    bag_claims.check_mcap(mcap(tmp_path, first, record(4, b""), summary=8 + len(first)))
    with pytest.raises(ValueError, match="summary"):
        bag_claims.check_mcap(mcap(tmp_path, first, record(4, b""), summary=9 + len(first)))
    with pytest.raises(ValueError, match="outside of the file"):
        bag_claims.check_mcap(mcap(tmp_path, b"\x05" + struct.pack("<Q", 2**60)))
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 20)
    bag_claims.check_mcap(mcap(tmp_path, first))
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 19)
    with pytest.raises(DatasetError, match="at most 19"):
        bag_claims.check_mcap(mcap(tmp_path, first))
    monkeypatch.undo()
    monkeypatch.setattr(bag_claims, "SCHEMA_BYTES", 5)
    bag_claims.check_mcap(mcap(tmp_path, record(3, bytes(20))))
    with pytest.raises(DatasetError, match="definitions"):
        bag_claims.check_mcap(mcap(tmp_path, record(3, bytes(21))))


# -- SQLite and folders ----------------------------------------------------------------------------------------------

MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"


def database(tmp_path, *statements):
    file = tmp_path / "a.db3"
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.commit()
    connection.close()
    return file


def test_messages_of_a_database(tmp_path, monkeypatch):
    file = database(
        tmp_path,
        MESSAGES,
        "CREATE INDEX i ON messages (timestamp ASC)",
        "INSERT INTO messages VALUES (1, 1, 1, zeroblob(100))",
    )
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 100)
    bag_claims.check_bag(file)
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 99)
    with pytest.raises(DatasetError, match="messages.data"):
        bag_claims.check_bag(file)


def test_compressed_messages_of_a_database(tmp_path, monkeypatch):
    file = database(tmp_path, MESSAGES, ("INSERT INTO messages VALUES (1, 1, 1, ?)", (zstd(bytes(1000)),)))
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 1000)
    bag_claims.check_sqlite(file, compressed=True)
    monkeypatch.setattr(bag_claims, "RECORD_BYTES", 999)
    bag_claims.check_sqlite(file, compressed=False)
    with pytest.raises(DatasetError, match="uncompressed"):
        bag_claims.check_sqlite(file, compressed=True)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW schema AS SELECT 1 AS schema_version",
        "CREATE TRIGGER t AFTER INSERT ON messages BEGIN SELECT 1; END",
        "CREATE TABLE topics(id INTEGER, name TEXT GENERATED ALWAYS AS (zeroblob(9)))",
        "CREATE TABLE topics(id INTEGER, name TEXT AS (zeroblob(9)))",
        "CREATE TABLE other(id INTEGER)",
    ],
)
def test_only_plain_tables_are_read(tmp_path, statement):
    with pytest.raises(DatasetError, match="plain tables"):
        bag_claims.check_bag(database(tmp_path, MESSAGES, statement))


def folder(tmp_path, files, mode="NONE"):
    text = f"rosbag2_bagfile_information: {{relative_file_paths: [{files}], compression_mode: {mode}}}"
    (tmp_path / "metadata.yaml").write_text(text)
    return tmp_path


def test_a_bag_in_a_folder(tmp_path, monkeypatch):
    database(tmp_path, MESSAGES)
    monkeypatch.setattr(bag_claims, "BAG_FILES", 2)
    bag_claims.check_bag(folder(tmp_path, "a.db3, a.db3"))
    with pytest.raises(DatasetError, match="at most 2 files"):
        bag_claims.check_bag(folder(tmp_path, "a.db3, a.db3, a.db3"))
    (tmp_path / "inner").mkdir()
    with pytest.raises(FileNotFoundError):  # names are those of files in the folder
        bag_claims.check_bag(folder(tmp_path / "inner", "../a.db3"))
    (tmp_path / "metadata.yaml").write_text("[")
    with pytest.raises(ValueError, match="metadata.yaml"):
        bag_claims.check_bag(tmp_path)


def test_a_file_that_is_compressed_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "a.db3.zstd").write_bytes(zstd(bytes(1000)))
    monkeypatch.setattr(bag_claims, "BAG_BYTES", 1000)
    bag_claims.check_bag(folder(tmp_path, "a.db3.zstd", "FILE"))
    monkeypatch.setattr(bag_claims, "BAG_BYTES", 999)
    with pytest.raises(DatasetError, match="uncompressed"):
        bag_claims.check_bag(folder(tmp_path, "a.db3.zstd", "FILE"))


# -- HDF5 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as opened:
        yield opened


def require(file, name, whole=True):
    hdf5_claims.require_numbers("a.hdf5", file[name], whole)


def test_shapes_at_the_limit_and_just_over_it(file, monkeypatch):
    file.create_dataset("d", (10, 100), "u1")
    monkeypatch.setattr(hdf5_claims, "HDF5_BYTES", 1000)
    require(file, "d")
    monkeypatch.setattr(hdf5_claims, "HDF5_BYTES", 999)
    with pytest.raises(DatasetError, match="at most 999"):
        require(file, "d")
    monkeypatch.setattr(hdf5_claims, "PICTURE_PIXELS", 25)
    require(file, "d", whole=False)
    monkeypatch.setattr(hdf5_claims, "PICTURE_PIXELS", 24)
    with pytest.raises(DatasetError, match="at most 96"):
        require(file, "d", whole=False)


def test_chunks_and_filters(file, monkeypatch):
    file.create_dataset("d", (10, 100), "u1", chunks=(5, 100), compression="gzip", shuffle=True, fletcher32=True)
    file.create_dataset("l", (10, 100), "u1", chunks=(5, 100), compression="lzf")
    file.create_dataset("s", (10, 100), "u1", chunks=(5, 100), scaleoffset=2)
    monkeypatch.setattr(hdf5_claims, "HDF5_CHUNK", 500)
    require(file, "d")
    require(file, "l")
    with pytest.raises(DatasetError, match="filters"):
        require(file, "s")
    monkeypatch.setattr(hdf5_claims, "HDF5_CHUNK", 499)
    with pytest.raises(DatasetError, match="chunks of at most"):
        require(file, "d")


def test_a_chunk_that_inflates_to_more_than_it_is(file, monkeypatch):
    made = file.create_dataset("d", (8, 8), "u1", chunks=(8, 8), compression="gzip")
    monkeypatch.setattr(hdf5_claims, "HDF5_CHUNK", 64)
    for size, good in ((64, True), (10**5, False)):
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(size)))
        if good:
            require(file, "d")
        else:
            with pytest.raises(DatasetError, match="expands to more"):
                require(file, "d")


def test_data_of_other_files_and_no_numbers(file, tmp_path):
    file.create_dataset("e", (8, 1), "f8", external=[(str(tmp_path / "raw"), 0, 64)])
    layout = h5py.VirtualLayout((8, 1), "f8")
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (8, 1))
    file.create_virtual_dataset("v", layout)
    file.create_dataset("r", (8, 1), h5py.ref_dtype)
    for name, found in (("e", "another file"), ("v", "another file"), ("r", "numbers")):
        with pytest.raises(DatasetError, match=found):
            require(file, name)


def test_links_to_other_files_are_refused_on_every_way(file):
    group = file.create_group("data/demo_0/obs")
    group["joints"] = np.zeros(3)
    file["data/demo_0/link"] = h5py.ExternalLink("other.hdf5", "/x")
    hdf5_claims.require_path("a.hdf5", file["data/demo_0"], "obs/joints")
    hdf5_claims.require_group("a.hdf5", file["data"])
    for check in (
        lambda: hdf5_claims.require_path("a.hdf5", file["data/demo_0"], "link/joints"),
        lambda: hdf5_claims.require_path("a.hdf5", file, "data/demo_0/link"),
        lambda: hdf5_claims.require_group("a.hdf5", file["data/demo_0"]),
    ):
        with pytest.raises(DatasetError, match="another file"):
            check()


def test_entries_of_a_group(file, monkeypatch):
    for name in "ab":
        file.create_group(name)
    monkeypatch.setattr(hdf5_claims, "MOST_LINKS", 2)
    hdf5_claims.require_group("a.hdf5", file)
    file.create_group("c")
    with pytest.raises(DatasetError, match="at most 2 entries"):
        hdf5_claims.require_group("a.hdf5", file)


def test_attributes(file, monkeypatch):
    file.attrs["text"], file.attrs["one"] = "go", np.array(["go"], dtype=h5py.string_dtype())
    file.attrs["many"] = np.zeros(3)
    assert hdf5_claims.attribute("a.hdf5", file, "text") == hdf5_claims.attribute("a.hdf5", file, "one") == "go"
    assert hdf5_claims.attribute("a.hdf5", file, "none") is None
    with pytest.raises(DatasetError, match="one text"):
        hdf5_claims.attribute("a.hdf5", file, "many")
    monkeypatch.setattr(hdf5_claims, "ATTRIBUTE_BYTES", 16)
    file.attrs["long"] = "x" * 17
    with pytest.raises(DatasetError, match="at most 16|one text"):
        hdf5_claims.attribute("a.hdf5", file, "long")
