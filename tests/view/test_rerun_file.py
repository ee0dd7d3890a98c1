"""Frames written for Rerun, read back by Rerun's own reader."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path as File

import numpy as np
import pytest

pytest.importorskip("rerun")

from vla_agent.errors import OptionError  # noqa: E402
from vla_agent.view.output.rerun_file import write_rerun  # noqa: E402
from vla_agent.view.source import (  # noqa: E402
    Box,
    Command,
    Control,
    Frame,
    Part,
    Path,
    Picture,
    Plot,
    Scene,
    Status,
)

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
LAST = 6


class Moving:
    """A triangle that moves along x, a picture that changes once, a curve, and words; it ends after `LAST` steps."""

    title = "a triangle"
    hz = 20.0
    controls: tuple[Control, ...] = ()

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.open_now = False
        self._step = 0
        self._scene = Scene((Part("arm/link", CORNERS, np.array([[0, 1, 2]], np.int32), (1.0, 0.0, 0.0, 1.0)),))
        self._images = [np.full((12, 16, 3), value, np.uint8) for value in (10, 200)]

    def open(self) -> None:
        self.open_now = True

    def close(self) -> None:
        self.open_now = False

    def command(self, command: Command) -> None:
        self.commands.append(command.name)

    def step(self) -> Frame | None:
        k = self._step
        self._step += 1
        if k >= LAST:
            return None
        boxes = (Box("red mug 90%", (0.0, 0.0, 0.5, 0.25)),) if k < 2 else ()
        return Frame(
            taken=time.time(),
            status=Status("running" if k < LAST - 1 else "success", "good"),
            scene=self._scene,
            poses={"arm/link": np.array([0.1 * k, 0, 0, 1, 0, 0, 0.0]), "unseen": np.zeros(7)},
            pictures=(Picture("front", self._images[k > 2], points=np.full((2, 2), 0.5), boxes=boxes),),
            paths=(Path("executed", CORNERS, (1, 2, 3)), Path("planned", CORNERS[:1], (1, 2, 3))),
            plots=(Plot("action", np.arange(k + 1.0), {"x": np.arange(k + 1.0), "gap": np.full(k + 1, np.nan)}),),
            facts={"instruction": "put the red mug in the tray"},
            rates={"control": 20.0},
        )


def values(file: File, entity: str, component: str) -> list:
    """All rows of a component of an entity, in the order of the frames."""
    from rerun.chunk import RrdReader

    found = []
    for chunk in RrdReader(file).stream():
        batch = chunk.to_record_batch()
        name = next((name for name in batch.schema.names if name.endswith(component)), None)
        if chunk.entity_path == entity and name is not None:
            rows = batch.column(name).to_pylist()
            known = "frame" in batch.schema.names
            frames = batch.column("frame").to_pylist() if known else [0] * len(rows)
            found += [(frame, row) for frame, row in zip(frames, rows, strict=True) if row is not None]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def test_what_a_source_shows_is_in_the_file(tmp_path):
    source, file = Moving(), tmp_path / "moving.rrd"
    count = write_rerun(source, file, (Command("start"),), None, lambda: False)
    assert count == LAST and source.commands == ["start"] and not source.open_now
    moves = values(file, "/scene/arm-link", ":translation")
    assert [round(row[0][0], 4) for row in moves] == [round(0.1 * k, 4) for k in range(LAST)]
    assert len(values(file, "/scene/arm-link/0", ":vertex_positions")) == 1, "geometry is written once"
    assert len(values(file, "/cameras/front", ":blob")) == 2, "an image is written where it is another one"
    assert [row[0] for row in values(file, "/plots/action/x", ":scalars")] == list(range(LAST))
    assert not values(file, "/plots/action/gap", ":scalars"), "no value, no point"
    assert [row[0] for row in values(file, "/status", ":text")] == ["running", "success"]
    assert values(file, "/facts/instruction", ":text") == [["put the red mug in the tray"]]
    assert len(values(file, "/cameras/front/things", ":labels")) == 2
    assert len(values(file, "/cameras/front/things", ":is_recursive")) == 1, "a box that is gone is cleared"
    assert len(values(file, "/scene/paths/planned", ":strips")) == LAST


def test_names_of_several_words_are_written_without_a_warning(tmp_path, capfd):
    class Worded(Moving):
        def step(self) -> Frame | None:
            frame = super().step()
            words = Plot("end effector, m", np.arange(1.0), {"x, in metres": np.ones(1)})
            return frame and replace(frame, plots=(words,), facts={"judged by": "nobody"})

    write_rerun(Worded(), tmp_path / "a.rrd", (Command("start"),), None, lambda: False)
    assert "WARN" not in "".join(capfd.readouterr())
    assert len(values(tmp_path / "a.rrd", r"/plots/end\ effector\,\ m/x\,\ in\ metres", ":scalars")) == LAST


def test_a_living_source_is_written_as_long_as_asked_and_a_failure_leaves_no_file(tmp_path):
    assert write_rerun(Moving(), tmp_path / "short.rrd", (), 0.1, lambda: False) == 3

    class Failing(Moving):
        def step(self) -> Frame | None:
            raise OptionError("the graph is gone")

    with pytest.raises(OptionError, match="gone"):
        write_rerun(Failing(), tmp_path / "none.rrd", (), None, lambda: False)
    assert [path.name for path in tmp_path.iterdir()] == ["short.rrd"]


def test_without_rerun_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(OptionError, match=r"vla_agent\[view,rerun\]"):
        write_rerun(Moving(), tmp_path / "a.rrd", (), None, lambda: False)
