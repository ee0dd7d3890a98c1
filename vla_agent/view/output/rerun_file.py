"""Writes what a source shows for Rerun (https://rerun.io): the same frames as the page's, in a file ``.rrd``.

Entities::

    scene/BODY/PART           meshes, once; scene/BODY moves
    scene/paths/NAME          lines in space
    cameras/NAME              images as JPEG; cameras/NAME/points: where the policy points; cameras/NAME/things: boxes
    plots/TITLE/LABEL         the newest value of each curve
    status, supervisor        in words
    facts/NAME                in words, where they change

Timelines: ``time``, seconds of the source from its first frame; ``frame``, which frame it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vla_agent.errors import OptionError
from vla_agent.files.write_aside import file_aside
from vla_agent.view.overlays import ROLES
from vla_agent.view.source import Command, Frame, Picture, Plot, Source

APPLICATION = "vla-agent"
QUALITY = 90  # of JPEG
LEVELS = {"idle": "INFO", "good": "INFO", "warning": "WARN", "bad": "ERROR"}


def require_rerun() -> None:
    """Check that Rerun's SDK is installed.

    Raises:
        OptionError: it is not; says how to install it.
    """
    try:
        import rerun  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "writing for Rerun needs a package that is not installed",
            key="rerun-sdk",
            expected="rerun-sdk",
            found=str(error),
            remedy="pip install 'vla_agent[view,rerun]'",
        ) from error


class RerunFile:
    """A recording; use as a context: ``with RerunFile(file, title) as out: out.write(frame, seconds)``."""

    def __init__(self, file: Path, title: str) -> None:
        import rerun

        self._rr: Any = rerun
        self._stream: Any = rerun.RecordingStream(APPLICATION, recording_id=None)
        self._stream.send_recording_name(title)
        self._stream.save(str(file))
        self._scene: Any = None
        self._words: dict[str, str] = {}
        self._images: dict[str, Any] = {}
        self._standing: set[str] = set()  # entities that must be cleared where there is nothing any more
        self.count = 0

    def __enter__(self) -> RerunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def write(self, frame: Frame, seconds: float) -> None:
        """Write a frame that was shown at ``seconds``."""
        stream = self._stream
        stream.set_time("time", duration=seconds)
        stream.set_time("frame", sequence=self.count)
        if frame.scene is not self._scene:
            self._scene = frame.scene
            self._write_scene(frame)
        self._write_poses(frame)
        for path in frame.paths:
            lines = [path.points] if len(path.points) > 1 else []
            self._log(f"scene/paths/{path.name}", self._rr.LineStrips3D(lines, colors=[path.colour] * len(lines)))
        for picture in frame.pictures:
            self._write_picture(picture)
        for plot in frame.plots:
            self._write_plot(plot)
        self._write_words(frame)
        self.count += 1

    def _log(self, entity: str, what: Any, static: bool = False) -> None:
        self._stream.log(entity.split("/"), what, static=static)  # as parts, whose spaces Rerun escapes itself

    def _write_scene(self, frame: Frame) -> None:
        """Geometry; that of another scene replaces it from here on."""
        self._log("scene", self._rr.Clear(recursive=True))
        self._log("scene", self._rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for number, part in enumerate(frame.scene.parts):
            mesh = self._rr.Mesh3D(
                vertex_positions=part.vertices,
                triangle_indices=part.faces,
                albedo_factor=[round(255 * channel) for channel in part.rgba],
            )
            self._log(f"scene/{entity_name(part.body)}/{number}", mesh)

    def _write_poses(self, frame: Frame) -> None:
        drawn = {part.body for part in frame.scene.parts} | {camera.body for camera in frame.scene.cameras}
        for body in drawn & frame.poses.keys():
            pose = frame.poses[body]
            turn = self._rr.Quaternion(xyzw=np.roll(pose[3:], -1))
            self._log(f"scene/{entity_name(body)}", self._rr.Transform3D(translation=pose[:3], quaternion=turn))

    def _write_picture(self, picture: Picture) -> None:
        """An image where it is another object than before, and what the policy sees in it."""
        entity, rr = f"cameras/{entity_name(picture.name)}", self._rr
        if self._images.get(picture.name) is not picture.image:
            self._images[picture.name] = picture.image
            self._log(entity, rr.Image(picture.image).compress(jpeg_quality=QUALITY))
        size = np.array(picture.image.shape[1::-1])
        self._log_or_clear(f"{entity}/points", self._points(picture, size))
        maps = picture.maps
        found = None if maps is None else rr.Tensor(maps.astype(np.float32), dim_names=("role", "v", "u"))
        self._log_or_clear(f"{entity}/maps", found)
        self._log_or_clear(f"{entity}/things", self._boxes(picture, size))

    def _points(self, picture: Picture, size: np.ndarray) -> Any:
        if picture.points is None:
            return None
        roles = ROLES[: len(picture.points)]
        colours, labels = [colour for colour, _ in roles], [words for _, words in roles]
        return self._rr.Points2D(picture.points[: len(roles)] * size, colors=colours, labels=labels, radii=2.0)

    def _boxes(self, picture: Picture, size: np.ndarray) -> Any:
        if not picture.boxes:
            return None
        corners = np.array([box.corners for box in picture.boxes]) * np.tile(size, 2)
        labels = [box.label for box in picture.boxes]
        return self._rr.Boxes2D(array=corners, array_format=self._rr.Box2DFormat.XYXY, labels=labels)

    def _log_or_clear(self, entity: str, what: Any) -> None:
        """Log it; where there is none any more, take away what stood there."""
        if what is not None:
            self._standing.add(entity)
            self._log(entity, what)
        elif entity in self._standing:
            self._standing.remove(entity)
            self._log(entity, self._rr.Clear(recursive=False))

    def _write_plot(self, plot: Plot) -> None:
        for label, line in plot.lines.items():
            if len(line) and np.isfinite(line[-1]):
                self._log(f"plots/{entity_name(plot.title)}/{entity_name(label)}", self._rr.Scalars(float(line[-1])))

    def _write_words(self, frame: Frame) -> None:
        """Status, supervisor and facts, where they have changed; rates and latencies as curves."""
        words = {"status": (frame.status.text, frame.status.level)}
        if frame.supervisor is not None:
            words["supervisor"] = frame.supervisor.text, frame.supervisor.level
        words |= {f"facts/{entity_name(name)}": (text, "idle") for name, text in frame.facts.items()}
        for entity, (text, level) in words.items():
            if self._words.get(entity) != text:
                self._words[entity] = text
                self._log(entity, self._rr.TextLog(text, level=LEVELS[level]))
        for group, values in (("rates", frame.rates), ("latencies", frame.latencies)):
            for name, value in values.items():
                self._log(f"{group}/{entity_name(name)}", self._rr.Scalars(float(value)))


def entity_name(name: str) -> str:
    """A name as one part of an entity's path."""
    return name.replace("/", "-").strip() or "unnamed"


def write_rerun(
    source: Source, file: Path, begin: tuple[Command, ...], seconds: float | None, ended: Callable[[], bool]
) -> int:
    """Step a source without a page and write what it shows; the file is whole or not there.

    Args:
        begin: what sets the source going.  One that is set going runs as fast as it can, and ends where nothing changes
            any more; another one lives, and is written as it lives.
        seconds: of the source's time, after which it ends; None: no limit.
        ended: asked before each step, such as whether Ctrl-C was pressed.

    Returns:
        The number of frames.

    Raises:
        OptionError: rerun-sdk is not installed.
        and whatever the source raises.
    """
    require_rerun()
    source.open()
    try:
        with file_aside(file) as aside, RerunFile(aside, source.title) as out:
            for command in begin:
                source.command(command)
            _write_all(source, out, bool(begin), seconds, ended)
            return out.count
    finally:
        source.close()


def _write_all(source: Source, out: RerunFile, fast: bool, seconds: float | None, ended: Callable[[], bool]) -> None:
    shown, due = 0.0, time.monotonic()
    while not ended() and (seconds is None or shown <= seconds):
        frame = source.step()
        if frame is not None:
            out.write(frame, shown)
        elif fast:
            return
        shown += 1.0 / source.hz
        if not fast:
            due += 1.0 / source.hz
            time.sleep(max(0.0, due - time.monotonic()))
