"""Damaged and foreign datasets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.errors import DatasetError

DATA = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-000.mp4"


def _load(spoil: Callable[[Path], None], manifest: bool = True) -> Mistake:
    """Open a dataset that ``spoil`` damaged; without the manifest as a dataset of another program would be."""

    def mistake(place: Path, good: Good) -> Callable[[], object]:
        from vla_agent.data.lerobot.dataset_reader import load

        folder = good.copy("dataset", place / "dataset")
        spoil(folder)
        if not manifest:
            (folder / "meta/manifest.json").unlink()
        return lambda: load(folder)

    return mistake


def _cut(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _info(**changes: object) -> Callable[[Path], None]:
    """Change keys of ``meta/info.json``; None removes one."""

    def spoil(folder: Path) -> None:
        path = folder / "meta/info.json"
        info = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in info.items() if value is not None}))

    return spoil


def _no_json(folder: Path) -> None:
    (folder / "meta/info.json").write_text("{")


def _nan(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / DATA, partitioning=None)
    states = table["observation.state"].to_pylist()
    states[5][0] = float("nan")
    index = table.column_names.index("observation.state")
    column = pa.array(states, type=table.schema.field("observation.state").type)
    pq.write_table(table.set_column(index, "observation.state", column), folder / DATA)


def _shorter_video(folder: Path) -> None:
    import av

    short = folder / "short.mp4"
    with av.open(str(folder / VIDEO)) as source, av.open(str(short), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and number < 5:
                packet.stream = stream
                target.mux(packet)
    short.replace(folder / VIDEO)


def _missing(place: Path, good: Good) -> Callable[[], object]:
    from vla_agent.data.lerobot.dataset_reader import load

    return lambda: load(place / "nowhere")


def _no_camera(place: Path, good: Good) -> Callable[[], object]:
    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(good.dataset)
    return lambda: dataset.frames("overhead", [0])


CASES = (
    Case("dataset missing", _missing, DatasetError, ("nowhere",)),
    Case("dataset's table truncated", _load(_cut(DATA)), DatasetError, (DATA,)),
    Case("table truncated, no manifest", _load(_cut(DATA), manifest=False), DatasetError, (DATA,)),
    Case("dataset's table missing", _load(_remove(DATA), manifest=False), DatasetError, (DATA,)),
    Case("video missing", _load(_remove(VIDEO), manifest=False), DatasetError, (VIDEO,)),
    Case("video truncated", _load(_cut(VIDEO), manifest=False), DatasetError, (VIDEO,)),
    Case("video shorter than the table", _load(_shorter_video, manifest=False), DatasetError, (VIDEO, "24")),
    Case("dataset of an earlier format", _load(_info(codebase_version="v1.6")), DatasetError, ("v3.0", "v2.1", "v1.6")),
    Case(
        "dataset's description without fps", _load(_info(fps=None), manifest=False), DatasetError, ("info.json", "fps")
    ),
    Case("dataset's description no JSON", _load(_no_json), DatasetError, ("info.json",)),
    Case("NaN in a dataset", _load(_nan, manifest=False), DatasetError, (DATA, "observation.state", "frame 5")),
    Case("more frames promised than there are", _load(_info(total_frames=99), manifest=False), DatasetError, ("99",)),
    Case("camera that the dataset lacks", _no_camera, DatasetError, ("overhead", "front, wrist")),
)
