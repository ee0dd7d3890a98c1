"""Datasets, gate files, task files, recipes and descriptions of servers with code, links and paths to other places."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.code.case import Case, Spoil, edit, fifo, linked, pickled
from benchmarks.code.planted_models import ROOT
from benchmarks.code.watched_run import Action, Place
from benchmarks.inputs.badinput.good_inputs import Good

DATA = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-000.mp4"
TAGS = (
    '!!python/object/apply:os.system ["COMMAND"]',
    '!!python/object/new:os.system ["COMMAND"]',
    "!!python/name:os.system",
    '!python/object/apply:os.system ["COMMAND"]',
    "!include OUTSIDE/secret",
)


def cases() -> Iterator[Case]:
    """Every planted dataset and file of settings."""
    for name, spoil in [*_templates(), *_dataset_files()]:
        yield Case("dataset", name, _dataset_planter(spoil))
    for kind, start, key, actions in _settings():
        for tag in TAGS:
            yield Case(kind, f"{tag.split()[0]} in its {key}", _text_planter(start, key, tag, actions))
    for name, key, value in _gate_values():
        yield Case("gate", name, _text_planter(ROOT / "gates/smoke.yaml", key, value, _gate_actions))


def _dataset_planter(spoil: Spoil) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        folder = good.copy("dataset", place.folder / "dataset")
        spoil(folder, place)

        def load() -> object:
            from vla_agent.data.lerobot.dataset_reader import load as read

            data = read(folder)
            return [data.image(camera, 0) for camera in data.contract.camera_names] if hasattr(data, "image") else data

        def demonstrations() -> object:
            from vla_agent.training.demonstrations import load_demonstrations

            return load_demonstrations((str(folder),), 16)

        return [load, demonstrations, ["data", "validate", str(folder)]]

    return plant


def _templates() -> Iterator[tuple[str, Spoil]]:
    """``data_path`` and ``video_path`` of info.json; the manifest is removed, as other programs write none."""

    def template(key: str, value: str, file: str) -> Spoil:
        def spoil(folder: Path, place: Place) -> None:
            (place.outside / "chunk-000").mkdir()
            shutil.copyfile(folder / file, place.outside / "chunk-000" / Path(file).name)
            edit(folder / "meta/info.json", **{key: value.replace("OUTSIDE", str(place.outside))})
            (folder / "meta/manifest.json").unlink(missing_ok=True)

        return spoil

    tail = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    for key, file in (("data_path", DATA), ("video_path", VIDEO)):
        end = Path(file).suffix
        yield f"{key} above", template(key, f"../../outside/{tail}{end}", file)
        yield f"{key} at an absolute path", template(key, f"OUTSIDE/{tail}{end}", file)
        yield f"{key} with an attribute", template(key, "{chunk_index.__class__.__mro__}" + end, file)
        yield f"{key} with an item", template(key, "{chunk_index[0]}" + end, file)
        yield f"{key} with a field by position", template(key, "{0}" + end, file)
        yield f"{key} with another field", template(key, "{secret}" + end, file)
        yield f"{key} with a wide field", template(key, "{chunk_index:999999999d}" + end, file)


def _dataset_files() -> Iterator[tuple[str, Spoil]]:
    for name in (DATA, VIDEO, "meta/info.json", "meta/tasks.parquet", "data", "videos", "meta"):
        yield f"{name} is a link", partial(_link, name)
    yield "a pickle as data", lambda f, p: (f / DATA).write_bytes(pickled(p))
    yield "a pickle as tasks", lambda f, p: (f / "meta/tasks.parquet").write_bytes(pickled(p))
    yield "code beside the data", lambda f, p: [(f / n).write_text(p.code) for n in ("dataset.py", "__init__.py")]
    yield "data that is a FIFO", lambda f, p: fifo(f / DATA)
    yield "a video that is a FIFO", lambda f, p: fifo(f / VIDEO)
    yield (
        "a video that is a list of files",
        lambda f, p: (f / VIDEO).write_text(f"ffconcat version 1.0\nfile '{p.outside}/secret'\n"),
    )
    yield (
        "a video that is a playlist",
        lambda f, p: (f / VIDEO).write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{p.outside}/secret\n#EXT-X-ENDLIST\n"),
    )
    yield "a camera whose name goes up", _camera_above
    yield "a pickle in the metadata of a table", _pickled_metadata


def _link(name: str, folder: Path, place: Place) -> None:
    linked(folder / name, place)


def _camera_above(folder: Path, place: Place) -> None:
    text = (folder / "meta/info.json").read_text().replace("observation.images.wrist", "../../outside/wrist")
    (folder / "meta/info.json").write_text(text)
    shutil.copytree(folder / "videos/observation.images.wrist", place.outside / "wrist")
    (folder / "meta/manifest.json").unlink(missing_ok=True)


def _pickled_metadata(folder: Path, place: Place) -> None:
    import pyarrow.parquet as parquet

    table = parquet.read_table(folder / DATA)
    metadata = {b"pandas": pickled(place), b"ARROW:extension:metadata": pickled(place), b"PANDAS_ATTRS": pickled(place)}
    parquet.write_table(table.replace_schema_metadata(metadata), folder / DATA)


def _gate_actions(file: Path, good: Good) -> list[Action]:
    def load() -> object:
        from vla_agent.gate.decision.gate_file import load_gate

        return load_gate(file)

    return [load, ["gate", "random", "--suite", str(file), "--key", "lab", "-o", "gated"]]


def _task_actions(file: Path, good: Good) -> list[Action]:
    return [["tasks", "--check", str(file)]]


def _recipe_actions(file: Path, good: Good) -> list[Action]:
    nothing = [part for key in ("collect", "questions", "rounds") for part in ("--set", f"{key}=[]")]
    return [["train", str(file), "-o", "trained", *nothing]]


def _finetune_actions(file: Path, good: Good) -> list[Action]:
    return [["finetune", str(file), "-o", "tuned"]]


def _server_actions(file: Path, good: Good) -> list[Action]:
    return [["inspect", str(file)], ["eval", str(file), "--episodes", "1", "-o", "out"]]


def _robot_actions(file: Path, good: Good) -> list[Action]:
    return [["robot", "demands", str(file)], ["gate", "random", "--robot", str(file), "--key", "lab", "-o", "gated"]]


def _mapping_actions(file: Path, good: Good) -> list[Action]:
    return [["data", "convert", str(good.dataset), "--mapping", str(file), "-o", "converted"]]


Actions = Callable[[Path, Good], list[Action]]


def _settings() -> Iterator[tuple[str, Path, str, Actions]]:
    """Kind, a valid file, a key of it, and what reads it."""
    yield "gate", ROOT / "gates/smoke.yaml", "name", _gate_actions
    yield "task file", ROOT / "sim/tasks/tabletop/put_in_tray.yaml", "name", _task_actions
    yield "recipe", ROOT / "policies/tabletop-nano.yaml", "name", _recipe_actions
    yield "recipe of a fine-tuning", ROOT / "policies/finetune-lora.yaml", "base", _finetune_actions
    yield "robot", ROOT / "config/robots/panda.yaml", "name", _robot_actions
    yield "mapping", ROOT / "config/data/recorder.yaml", "name", _mapping_actions
    yield "server's description", ROOT / "config/servers.yaml", "url", _server_actions


def _gate_values() -> Iterator[tuple[str, str, str]]:
    yield "a suite above", "suite", "../outside"
    yield "a suite at an absolute path", "suite", "OUTSIDE"
    yield "a task outside", "tasks", "[OUTSIDE/task.yaml]"
    yield "a task above", "tasks", "[../outside/task.yaml]"
    yield "an execution mode that is a module", "execution", "os.system"


def _text_planter(start: Path, key: str, value: str, actions: Actions) -> Callable[[Place, Good], list[Action]]:
    """A copy of a file of settings in which one key has another value; a missing key or file begins with it."""

    def plant(place: Place, good: Good) -> list[Action]:
        (place.outside / "task.yaml").write_text((ROOT / "sim/tasks/tabletop/put_in_tray.yaml").read_text())
        filled = value.replace("OUTSIDE", str(place.outside)).replace("COMMAND", place.shell)
        lines = start.read_text().splitlines() if start.exists() else []
        kept = [line for line in lines if not line.startswith(f"{key}:")]
        file = place.folder / "planted.yaml"
        file.write_text("\n".join([f"{key}: {filled}", *kept]) + "\n")
        return actions(file, good)

    return plant
