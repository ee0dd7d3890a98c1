"""A recorded episode in the window, or two side by side: scrubbed, played at any speed, with what a policy would do.

An episode is one of an evaluation (simulated again bit for bit where it is the tabletop's), of a dataset, or a recorded
bag; see `vla_agent.view.sources.lanes`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from vla_agent.view.source import (
    Button,
    Choice,
    Command,
    Control,
    Frame,
    Path,
    Picture,
    Plot,
    Scene,
    Slider,
    Status,
)
from vla_agent.view.sources.lanes.lane import APART, Lane, Place, frames_at, own_frame, signal_plot
from vla_agent.view.sources.lanes.opening import EpisodeSet, Lanes

HZ = 20.0
SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")
COLOURS = ((60, 130, 255), (40, 200, 120))  # of the ways of the two episodes
AHEAD, PREDICTED = (150, 150, 160), (255, 150, 20)
MOST = 400  # episodes in the list
WHICH = "Episode"  # a group of controls; "Shown" is the page's own


@dataclass(frozen=True)
class EpisodeSettings:
    """What is shown.

    Attributes:
        path: an evaluation's folder or report.json, a dataset, or a bag.
        episode: its number.
        against: ``expert``, or another evaluation, dataset or bag, of which the same seed or number stands beside it;
            empty: nothing.
        policy: a policy that looks at the episode; empty: none.
        robot: robot file of a dataset or bag; empty: the panda where the joints are its own.
        env: an environment of the report that is not shipped: it is code that only the user may name.
    """

    path: FilePath
    episode: int = 0
    against: str = ""
    policy: str = ""
    robot: str = ""
    env: str | None = None


class EpisodeSource:
    """See `vla_agent.view.source.Source`.

    Attributes:
        finished: whether the last frame is shown.
    """

    hz = HZ

    def __init__(self, settings: EpisodeSettings) -> None:
        self._settings = settings
        self._set = EpisodeSet(settings.path, settings.robot, settings.env)
        self.title = f"{self._set.name}: {self._set.kind}"
        self._lanes: Lanes = ()
        self._forecast: Any = None  # a `Forecast`, which needs torch
        self._at, self._playing, self._speed, self._new = 0.0, False, 1.0, True

    # -- what it is ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Read the episode.

        Raises:
            VlaAgentError: it is not there, damaged, or does not fit the policy.
        """
        self._load(self._settings.episode)
        self._episodes = self._set.choices(MOST, self._settings.episode)
        self._plots = {part: self._titles(part) for part in ("action", "state")}
        self._chosen = {part: titles[0] for part, titles in self._plots.items() if titles}
        self._controls = self._make_controls()

    def _load(self, number: int) -> None:
        settings = self._settings
        both = bool(settings.against)
        places = (Place("A" if both else ""), Place("B", (0.0, APART, 0.0)))
        lanes: list[Lane] = [self._set.lane(number, places[0])]
        try:
            if both:
                lanes.append(self._set.other(number, settings.against, places[1]))
            forecast = _forecast(settings.policy, lanes[0]) if settings.policy else None
        except Exception:
            _close(lanes)
            raise
        _close([lane for _, lane in self._lanes])
        self._lanes = tuple(zip(places, lanes, strict=False))
        self._number, self._forecast, self._at, self._new = number, forecast, 0.0, True
        scenes = [lane.scene for lane in lanes]
        self._scene = Scene(
            tuple(part for scene in scenes for part in scene.parts),
            cameras=tuple(
                replace(camera, name=place.picture(camera.name))
                for place, scene in zip(places, scenes, strict=False)
                for camera in scene.cameras
            ),
        )
        if both and scenes[1].parts:
            self._scene = replace(self._scene, look_from=(2.0, APART / 2, 1.1), look_at=(0.35, APART / 2, 0.1))

    def _titles(self, part: str) -> tuple[str, ...]:
        """Plots of the action or of the state."""
        return tuple(s.title for s in self._lanes[0][1].track.signals if s.title.split()[0] == part)

    @property
    def length(self) -> int:
        """Frames of the longer episode, at the rate of the first."""
        return max(frames_at(lane.track, self._hz) for _, lane in self._lanes)

    @property
    def _hz(self) -> float:
        return self._lanes[0][1].track.hz

    @property
    def finished(self) -> bool:
        return int(self._at) >= self.length - 1

    @property
    def controls(self) -> tuple[Control, ...]:
        return self._controls

    def _make_controls(self) -> tuple[Control, ...]:
        most = max(self.length, self._set.longest) - 1
        controls: list[Control] = [
            Button("start", "play / pause", "space"),
            Slider("frame", "frame", 0, max(1, most), 1, 0, hint="drag it to any moment"),
            Button("back", "one back", "b"),
            Button("forward", "one on", "t"),
            Button("reset", "to the start", "r"),
            Choice("speed", "speed", SPEEDS, "1", "times the time in which it was recorded"),
        ]
        if len(self._episodes) > 1:
            chosen = self._set.label(self._number)
            controls.append(Choice("episode", "episode", tuple(self._episodes), chosen, group=WHICH))
            controls.append(Button("next", "next episode", "n", group=WHICH))
        for part, titles in self._plots.items():
            if titles:
                controls.append(Choice(part, part, titles, titles[0], group=WHICH))
        return tuple(controls)

    # -- time ------------------------------------------------------------------------------------------------------

    def step(self) -> Frame | None:
        """The frame that is due; None while it stands still."""
        if self._playing and not self._new:
            self._at = min(self._at + self._speed * self._hz / HZ, self.length - 1)
            if self.finished:
                self._playing = False
        elif not self._new:
            return None
        self._new = False
        return self._frame(int(self._at))

    def command(self, command: Command) -> None:
        """Play, scrub, choose.

        Raises:
            VlaAgentError: an episode cannot be read; the one before stays.
        """
        name, value = command.name, command.value
        self._new = True
        if name == "start":
            self._at = 0.0 if self.finished and not self._playing else self._at
            self._playing = not self._playing
        elif name == "speed":
            self._speed = float(str(value))
        elif name in self._chosen:
            self._chosen[name] = str(value)
        elif name in ("episode", "next"):
            known = list(self._episodes.values())
            following = known[(known.index(self._number) + 1) % len(known)] if self._number in known else known[0]
            self._load(self._episodes[str(value)] if name == "episode" else following)
        else:
            self._playing = False
            places: dict[str, float] = {"back": int(self._at) - 1, "forward": int(self._at) + 1, "reset": 0}
            self._at = min(max(places[name] if name in places else float(str(value)), 0.0), self.length - 1.0)

    def close(self) -> None:
        """Close what is open."""
        _close([lane for _, lane in self._lanes])
        self._lanes = ()
        self._set.close()

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _frame(self, frame: int) -> Frame:
        poses: dict[str, np.ndarray] = {}
        pictures: list[Picture] = []
        for place, lane in self._lanes:
            now = own_frame(lane.track, frame, self._hz)
            poses |= lane.poses(now)
            pictures += [Picture(place.picture(camera), image) for camera, image in lane.images(now).items()]
        self._look(frame)
        return Frame(
            taken=time.time(),
            status=self._status(frame),
            scene=self._scene,
            poses=poses,
            pictures=tuple(self._drawn(picture) for picture in pictures),
            paths=tuple(self._paths(frame)),
            plots=tuple(self._all_plots(frame)),
            facts=self._facts(),
            supervisor=self._lanes[0][1].supervisor(min(frame, self._lanes[0][1].track.length - 1)),
            values={"frame": float(frame)}
            | ({"episode": self._set.label(self._number)} if len(self._episodes) > 1 else {}),
        )

    def _look(self, frame: int) -> None:
        """Let the policy look: at each frame that stands still, and as often as it would while the episode plays."""
        forecast, length = self._forecast, self._lanes[0][1].track.length
        if forecast is None:
            return
        frame = min(frame, length - 1)
        if not (self._playing and 0 <= frame - forecast.at < forecast.execute and forecast.at >= 0):
            forecast.look(frame)

    def _drawn(self, picture: Picture) -> Picture:
        """With what the policy saw, where it looked at this camera."""
        if self._forecast is None:
            return picture
        names = {self._lanes[0][0].picture(camera): seen for camera, seen in self._forecast.pictures.items()}
        seen = names.get(picture.name)
        return picture if seen is None else replace(seen, name=picture.name, image=picture.image)

    def _paths(self, frame: int) -> list[Path]:
        paths = []
        for (place, lane), colour in zip(self._lanes, COLOURS, strict=False):
            way = lane.track.path
            if way is not None:
                now = own_frame(lane.track, frame, self._hz)
                paths.append(Path(place.picture("executed"), way[: now + 1], colour))
                paths.append(Path(place.picture("to come"), way[now:], AHEAD, 1.5))
        if self._forecast is not None:
            paths.append(Path("predicted", self._forecast.path(), PREDICTED, 4.0))
        return paths

    def _all_plots(self, frame: int) -> list[Plot]:
        tracks = [(place, lane.track) for place, lane in self._lanes]
        plots = [signal_plot(title, tracks, frame) for title in self._chosen.values()]
        return plots + ([self._forecast.plot()] if self._forecast is not None else [])

    def _status(self, frame: int) -> Status:
        track = self._lanes[0][1].track
        if frame >= track.length - 1:
            level = {"success": "good", "not recorded": "idle"}.get(track.outcome, "bad")
            return Status(f"the end: {track.outcome}", level)
        return Status("playing", "good") if self._playing else Status("paused: press play", "idle")

    def _facts(self) -> dict[str, str]:
        facts: dict[str, Any] = {}
        for place, lane in self._lanes:
            track = lane.track
            start = f"{place.name}: " if place.name else ""
            facts[f"{start}{track.title}"] = f"{track.instruction} - {track.outcome}"
            facts |= {f"{start}{key}": text for key, text in track.facts.items()}
        return facts | (dict(self._forecast.facts) if self._forecast is not None else {})


def _forecast(policy: str, lane: Lane) -> Any:
    from vla_agent.view.sources.lanes.forecast import Forecast

    return Forecast(policy, lane)


def _close(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.close()
