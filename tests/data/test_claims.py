"""What a dataset's files claim: each bound at its limit and just over it."""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import vector_values
from vla_agent.data.lerobot.claims import file_claims, table_claims, video_claims
from vla_agent.data.lerobot.claims.info_claims import (
    FILE_FIELDS,
    VIDEO_FIELDS,
    check_claims,
    check_counts,
    check_template,
)
from vla_agent.data.lerobot.claims.thrift import MOST_DEPTH, ThriftReader
from vla_agent.data.lerobot.claims.video_claims import check_video
from vla_agent.data.lerobot.dataset_files import read_table
from vla_agent.data.lerobot.media import STORAGES, count_frames, decode_video, encode_video
from vla_agent.errors import DatasetError
from vla_agent.files.input_limits import SIDE

# -- meta/info.json --------------------------------------------------------------------------------------------------


def info(**changes):
    features = {
        "observation.images.front": {"dtype": "image", "shape": [8, 8, 3]},
        "action": {"dtype": "f", "shape": [2]},
    }
    plain = {"fps": 20, "total_episodes": 1, "total_frames": 4, "data_path": dataset_schema.DATA_PATH}
    return plain | {"video_path": dataset_schema.VIDEO_PATH, "features": features} | changes


NO_PATH = {"video_path": None}


def feature(name="x", **changes):
    return info(features={name: {"dtype": "float32", "shape": [1]} | changes})


@pytest.mark.parametrize(
    "good, bad, key",
    [
        (info(fps=10_000), info(fps=10_001), "fps"),
        (info(fps=0.5), info(fps=0), "fps"),
        (info(), info(fps=float("nan")), "fps"),
        (info(), info(fps="20"), "fps"),
        (info(total_frames=10**9), info(total_frames=10**9 + 1), "total_frames"),
        (info(total_frames=0), info(total_frames=-1), "total_frames"),
        (info(), info(total_frames=4.0), "total_frames"),
        (info(total_episodes=10**9), info(total_episodes=10**9 + 1), "total_episodes"),
        (info(chunks_size=1), info(chunks_size=0), "chunks_size"),
        (feature(shape=[65_536 // 8, 8]), feature(shape=[65_536 // 8, 9]), "65,536"),
        (feature(shape=[1]), feature(shape=[0]), "shape"),
        (feature(shape=[1, 1, 1, 1]), feature(shape=[1, 1, 1, 1, 1]), "shape"),
        (feature(shape=[SIDE]), feature(shape=[SIDE + 1]), "shape"),
        (feature(dtype="video", shape=[10_000, 4000, 4]), feature(dtype="video", shape=[10_000, 4001, 4]), "one image"),
        (feature(dtype="image", shape=[3, 8, 8]), feature(dtype="image", shape=[8, 8]), "three sides"),
        (feature("a" * 200), feature("a" * 201), "no name"),
        (feature("observation.images.front"), feature("observation.images../../x"), "no name"),
        (feature("a.b"), feature("a..b"), "no name"),
        (feature("a_b"), feature("a\\b"), "no name"),
        (info(video_path=None), info(video_path="../{video_key}"), "video_path"),
        (info(), info(data_path="/{file_index}"), "data_path"),
        (feature(dtype="video", shape=[8, 8, 3]), feature(dtype="video", shape=[8, 8, 3]) | NO_PATH, "video_path"),
    ],
)
def test_numbers_shapes_and_names(good, bad, key, tmp_path):
    check_claims(good, tmp_path)
    with pytest.raises(DatasetError, match=key):
        check_claims(bad, tmp_path)


@pytest.mark.parametrize(
    "path", [dataset_schema.DATA_PATH, "data/{episode_chunk}/{episode_index:06d}.parquet", "x{{y}}"]
)
def test_paths_of_datasets(path):
    assert check_template(path, FILE_FIELDS) == path


@pytest.mark.parametrize(
    "path",
    [
        "{chunk_index.__class__}",
        "{chunk_index[0]}",
        "{chunk_index!r}",
        "{0}",
        "{}",
        "{other}",
        "{chunk_index:10d}",
        "{chunk_index:010d}",
        "{chunk_index:{file_index}}",
        "{chunk_index:x}",
        "{video_key}",
        "../{file_index}",
        "a/../../{file_index}",
        "/etc/{file_index}",
        "a\\{file_index}",
        "a\0{file_index}",
        "",
        "a" * 1001,
    ],
)
def test_other_fields_and_paths_that_leave_the_dataset_are_refused(path):
    with pytest.raises(ValueError):
        check_template(path, FILE_FIELDS)


def test_a_videos_path_may_name_its_camera():
    assert check_template("videos/{video_key}/{file_index}.mp4", VIDEO_FIELDS)


@pytest.mark.parametrize("wrong", [-1, 10**9 + 1, 1.0, "1", None, True])
def test_counts_of_an_episode(wrong):
    check_counts({"length": 0, "start": 10**9})
    with pytest.raises(ValueError, match="length"):
        check_counts({"length": wrong})


@pytest.mark.parametrize(
    "shape, names, expected",
    [
        ([8, 6, 3], None, (8, 6, 3)),
        ([3, 8, 6], None, (8, 6, 3)),
        ([3, 8, 3], ["height", "width", "channels"], (3, 8, 3)),
        ([3, 3, 8], ["channels", "height", "width"], (3, 8, 3)),
        ([3, 8, 6], ["c", "h", "w"], (8, 6, 3)),
    ],
)
def test_the_sides_of_an_image_by_their_names(shape, names, expected):
    assert dataset_schema.image_shape({"shape": shape, "names": names}) == expected
    assert dataset_schema.stated_shape({"dtype": "video", "shape": shape, "names": names}) == list(expected)


# -- parquet ---------------------------------------------------------------------------------------------------------


def table(tmp_path, columns, **options):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", **options)
    return tmp_path / "t.parquet"


def test_rows_at_the_limit_and_one_more(tmp_path, monkeypatch):
    monkeypatch.setattr(table_claims, "TABLE_ROWS", 10)
    assert len(read_table(table(tmp_path, {"a": range(10)}))) == 10
    with pytest.raises(DatasetError, match="at most 10 rows"):
        read_table(table(tmp_path, {"a": range(11)}))


def test_columns_at_the_limit_and_one_more(tmp_path, monkeypatch):
    monkeypatch.setattr(table_claims, "COLUMNS", 2)
    read_table(table(tmp_path, {"a": [1], "b": [1]}))
    with pytest.raises(DatasetError, match="at most 2 columns"):
        read_table(table(tmp_path, {"a": [1], "b": [1], "c": [1]}))


def test_repeated_values_count_as_many_times(tmp_path):
    """8 kB of file stand for 8 MB of values."""
    file = table(tmp_path, {"a": np.zeros(10**6)})
    assert file.stat().st_size < 10**4
    assert len(read_table(file, most=9 * 10**6)) == 10**6  # and a bit of each value, whether it is missing
    with pytest.raises(DatasetError, match="larger than any"):
        read_table(file, most=8 * 10**6 - 1)


def test_only_the_wanted_columns_count(tmp_path):
    file = table(tmp_path, {"a": np.zeros(10**6), "b": np.zeros(10**6, np.int8), "stats/x": np.zeros(10**6)})
    assert read_table(file, columns=["b", "none"], most=5 * 10**6).column_names == ["b"]
    assert read_table(file, without="stats/").column_names == ["a", "b"]


def test_a_column_whose_name_has_dots_is_counted_by_its_pages_before_it_is_read(tmp_path):
    file = table(tmp_path, {"observation.state": [[0.0] * 10**6], "action": np.zeros(1)})
    with pytest.raises(DatasetError, match="bytes of values in") as refused:
        read_table(file, columns=["observation.state"], most=8 * 10**6 - 1)
    assert refused.value.key == "observation.state.list.element"
    assert read_table(file, columns=["action"], most=100).column_names == ["action"]


def test_text_that_repeats_is_counted_as_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(table_claims, "BATCH_BYTES", 10**5)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["x" * 10**5]))
    file = table(tmp_path, {"a": texts})
    with pytest.raises(DatasetError, match="larger than any"):
        read_table(file, most=5 * 10**6)
    assert read_table(file, most=11 * 10**6)["a"].to_pylist() == ["x" * 10**5] * 100


def test_a_large_page_is_refused_by_its_header(tmp_path, monkeypatch):
    file = table(tmp_path, {"a": [b"\0" * 10**6]}, use_dictionary=False, compression="zstd")
    assert file.stat().st_size < 10**4
    monkeypatch.setattr(table_claims, "PAGE_BYTES", 10**6)
    with pytest.raises(DatasetError, match="larger than any"):
        read_table(file)


def test_footers(tmp_path, monkeypatch):
    file = table(tmp_path, {f"c{k}": [1] for k in range(100)})
    length = struct.unpack("<I", file.read_bytes()[-8:-4])[0]
    monkeypatch.setattr(table_claims, "FOOTER_BYTES", length)
    read_table(file)
    monkeypatch.setattr(table_claims, "FOOTER_BYTES", length - 1)
    with pytest.raises(DatasetError, match=f"at most {length - 1:,} bytes"):
        read_table(file)
    monkeypatch.undo()
    monkeypatch.setattr(table_claims, "FOOTER_FREE", 0)
    read_table(file)
    monkeypatch.setattr(table_claims, "FOOTER_FIELDS", 100)
    with pytest.raises(DatasetError, match="more fields"):
        read_table(file)


def test_what_is_no_table_is_refused(tmp_path):
    file = table(tmp_path, {"a": range(1000)})
    data = file.read_bytes()
    for changed in (b"", b"PAR1", data[:-20], data[: len(data) // 2], b"PAR1" + bytes(100) + b"PAR1"):
        file.write_bytes(changed)
        with pytest.raises(DatasetError):
            read_table(file)
    with pytest.raises(DatasetError, match="missing"):
        read_table(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    "column, expected",
    [
        (pa.array([1, 2]), [1, 2]),
        (pa.array([[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]]),
        (pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), [[1, 2, 3, 4], [5, 6, 7, 8]]),
        (pa.array([True, False]), [True, False]),
    ],
)
def test_columns_of_numbers(column, expected):
    assert vector_values(pa.chunked_array([column])).tolist() == expected


@pytest.mark.parametrize(
    "column", [[[1], [1, 2]], [[[1], [2]], [[1, 2], [3]]], [1, None], [[1], None], [[1], [None]], ["x"]]
)
def test_ragged_columns_and_text_are_no_numbers(column):
    with pytest.raises(ValueError):
        vector_values(pa.chunked_array([pa.array(column)]))


def test_thrift_stays_within_its_budget_and_depth():
    three = b"\x15\x02\x15\x04\x15\x06\x00"
    assert ThriftReader(three, 3).struct() == {1: 1, 2: 2, 3: 3}
    with pytest.raises(ValueError, match="more fields"):
        ThriftReader(three, 2).struct()
    ThriftReader(b"\x1c" * (MOST_DEPTH + 1) + b"\x00" * (MOST_DEPTH + 2), 100).struct()
    with pytest.raises(ValueError, match="more fields"):
        ThriftReader(b"\x1c" * (MOST_DEPTH + 2) + b"\x00" * (MOST_DEPTH + 3), 100).struct()
    with pytest.raises(ValueError, match="more fields"):
        ThriftReader(b"\x19\xf3\xff\xff\xff\xff\x0f" + bytes(1000), 100).struct()
    for damaged in (b"", b"\x15", b"\x18\x7f", b"\x1d\x00", b"\x15" + b"\xff" * 11 + b"\x00"):
        with pytest.raises(ValueError):
            ThriftReader(damaged, 100).struct()


# -- MP4 -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video():
    return encode_video(np.full((3, 16, 16, 3), 90, np.uint8), 20, STORAGES["video"])


def with_number(data, box, place, number):
    at = data.index(box) + 4 + place
    return data[:at] + struct.pack(">I", number) + data[at + 4 :]


def test_a_video_is_read(video, tmp_path):
    (tmp_path / "v.mp4").write_bytes(video)
    check_video(tmp_path / "v.mp4")
    assert count_frames(tmp_path / "v.mp4") == 3
    assert [frame.shape for frame in decode_video(tmp_path / "v.mp4", 0, 3, 20)] == [(16, 16, 3)] * 3


@pytest.mark.parametrize(
    "box, place, found", [(b"stsz", 8, "entries of 4"), (b"stsc", 4, "12 bytes"), (b"stts", 4, "8 bytes")]
)
def test_tables_lie_within_their_boxes(video, tmp_path, box, place, found):
    (tmp_path / "v.mp4").write_bytes(with_number(video, box, place, 2**31))
    with pytest.raises(DatasetError, match=found):
        check_video(tmp_path / "v.mp4")


def test_frames_of_equal_size_are_no_more_than_bytes(video, tmp_path):
    for number, good in ((len(video), True), (len(video) + 1, False)):
        (tmp_path / "v.mp4").write_bytes(with_number(with_number(video, b"stsz", 4, 1), b"stsz", 8, number))
        if good:
            check_video(tmp_path / "v.mp4")
        else:
            with pytest.raises(DatasetError, match="at most"):
                check_video(tmp_path / "v.mp4")


def test_times_are_no_more_than_bytes(video, tmp_path):
    (tmp_path / "v.mp4").write_bytes(with_number(video, b"stts", 8, len(video)))
    check_video(tmp_path / "v.mp4")
    (tmp_path / "v.mp4").write_bytes(with_number(video, b"stts", 8, len(video) + 1))
    with pytest.raises(DatasetError, match="as many frames"):
        check_video(tmp_path / "v.mp4")


def test_boxes(video, tmp_path, monkeypatch):
    file = tmp_path / "v.mp4"
    free = struct.pack(">I", 8) + b"free"
    monkeypatch.setattr(video_claims, "BOXES", 100)
    file.write_bytes(video + free * 50)
    check_video(file)
    for data in (video + free * 100, video + struct.pack(">I", 9) + b"free", video + struct.pack(">I", 4) + b"free"):
        file.write_bytes(data)
        with pytest.raises(DatasetError, match="at most 100 boxes"):
            check_video(file)
    monkeypatch.setattr(video_claims, "INDEX_BYTES", 8)
    file.write_bytes(video)
    with pytest.raises(DatasetError, match="an index of at most"):
        check_video(file)


def test_a_compressed_index_and_other_formats_are_refused(video, tmp_path):
    file = tmp_path / "v.mp4"
    packed = struct.pack(">I", 16) + b"moov" + struct.pack(">I", 8) + b"cmov"
    for data, found in (
        (video[:32] + packed, "not compressed"),
        (b"ffconcat version 1.0\nfile x\n", "an MP4"),
        (b"", "MP4"),
    ):
        file.write_bytes(data)
        with pytest.raises(DatasetError, match=found):
            check_video(file)


def test_frames_over_the_limit_are_not_decoded(video, tmp_path, monkeypatch):
    from vla_agent.data.lerobot import media

    (tmp_path / "v.mp4").write_bytes(video)
    monkeypatch.setattr(media, "PICTURE_PIXELS", 255)
    with pytest.raises(ValueError, match="at most 255 pixels"):
        count_frames(tmp_path / "v.mp4")


def test_files_that_are_hashed_are_bounded(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("123456")
    files = file_claims.list_files(tmp_path)
    monkeypatch.setitem(file_claims.LARGEST, ".json", 6)
    assert file_claims.hash_files(tmp_path, files, ())["a.json"]["bytes"] == 6
    monkeypatch.setitem(file_claims.LARGEST, ".json", 5)
    with pytest.raises(DatasetError, match="larger than any"):
        file_claims.hash_files(tmp_path, files, ())
