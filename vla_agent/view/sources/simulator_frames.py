"""Frames of the simulator: everything that the page shows of an episode, at one moment."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vla_agent.view.history import History
from vla_agent.view.source import Frame, Path, Picture, Status, Value
from vla_agent.view.sources.mujoco_scene import Geometry, poses_of
from vla_agent.view.sources.simulator_controls import GRAB, INSTRUCTION, NONE
from vla_agent.view.sources.simulator_episode import POLICY, Episode
from vla_agent.view.sources.simulator_knobs import Knobs
from vla_agent.view.sources.simulator_scene import labels

ALL_GROUPS = tuple(range(6))  # the world's cameras use geom groups to leave out what is out of view
EXECUTED, PLANNED = (60, 130, 255), (255, 150, 20)  # colours of the paths
WINDOW = 20  # control steps over which the rate is measured
PLOTTED = 200  # control steps in a plot: 10 s


class FrameMaker:
    """Makes the frames of an episode; keeps what the plots show."""

    def __init__(self, episode: Episode, knobs: Knobs) -> None:
        self._episode, self._knobs, world = episode, knobs, episode.world
        self._geometry = Geometry(world.model, groups=ALL_GROUPS)
        fields = episode.env.contract.action
        self._actions = tuple(
            f"{field.name}.{k}" if field.size > 1 else field.name for field in fields for k in range(field.size)
        )
        self._position = History("end effector, m", ("x", "y", "z"), PLOTTED)
        self._action = History("action", self._actions, PLOTTED)
        self._doubt = History("gripper and doubt", ("gripper, 1 is closed", "doubt"), PLOTTED)
        self._times: deque[float] = deque(maxlen=WINDOW)
        self.clear()

    def clear(self) -> None:
        """A new episode: another scene, empty plots."""
        for history in (self._position, self._action, self._doubt):
            history.clear()
        self._times.clear()
        names = labels(self._episode.task.scene)
        bodies = {f"slot{k}": label for k, label in enumerate(names)}
        self._scene = replace(self._geometry.scene(), pick=GRAB, pickable=bodies)

    def note(self, action: np.ndarray) -> None:
        """A control step was executed."""
        episode, world = self._episode, self._episode.world
        now, hand = episode.steps / episode.env.contract.control_hz, world.ee_position
        self._times.append(time.perf_counter())
        self._position.add(now, dict(zip("xyz", hand, strict=True)))
        self._action.add(now, dict(zip(self._actions, np.asarray(action, float), strict=True)))
        doubt = np.nan if episode.doubt is None else episode.doubt.probability
        self._doubt.add(now, {"gripper, 1 is closed": world.gripper, "doubt": doubt})

    def frame(self, running: bool, grabbed: str, marks: Mapping[str, int], speed: float) -> Frame:
        """What there is to be seen now."""
        episode, world = self._episode, self._episode.world
        return Frame(
            taken=time.time(),
            status=self._status(running),
            scene=self._scene,
            poses=poses_of(world.model, world.data),
            pictures=self._pictures(),
            paths=(Path("executed", episode.path, EXECUTED), Path("planned", episode.plan, PLANNED, 4.0)),
            plots=(self._position.plot(), self._action.plot(), self._doubt.plot()),
            facts=self._facts(marks, grabbed),
            supervisor=self._supervisor(),
            rates=self._rates(),
            latencies={"chunk": episode.inference},
            values=self._values(grabbed, speed),
            options={GRAB: (NONE, *labels(episode.task.scene))},
        )

    def _pictures(self) -> tuple[Picture, ...]:
        """The cameras' images of now, with what the policy saw at its last look."""
        seen = self._episode.seen
        return tuple(
            replace(seen[name], image=image) if name in seen else Picture(name, image)
            for name, image in self._episode.images.items()
        )

    def _status(self, running: bool) -> Status:
        episode = self._episode
        if episode.success:
            return Status("success, judged by the simulator", "good")
        if episode.over:
            return Status("time is up", "bad")
        if episode.refusal and episode.driver.name == POLICY:
            return Status(f"the policy holds still: {episode.refusal}", "warning")
        return Status("running", "good") if running else Status("stopped: press start", "idle")

    def _supervisor(self) -> Status:
        chain = self._episode.chain
        if chain is None:
            return Status("not between policy and arm (--robot panda puts it there)", "idle")
        if chain.stopped:
            return Status(f"stopped the arm: {chain.stopped}", "bad")
        limited = ", ".join(f"{what}: {count}" for what, count in chain.filtered.items())
        return Status("passes commands" + (f"; the filter limited {limited}" if limited else ""), "good")

    def _facts(self, marks: Mapping[str, int], grabbed: str) -> dict[str, str]:
        episode = self._episode
        reading, doubt = getattr(episode.policy, "reading", None), episode.doubt
        facts = {
            "instruction": episode.instruction,
            "judged by": f"{episode.task.family}: {episode.task.instruction}",
            "time": f"{episode.steps / episode.env.contract.control_hz:.2f} s of "
            f"{episode.task.steps_limit / episode.env.contract.control_hz:.0f} s",
            "your marks": f"{marks['success']} success, {marks['failure']} failure",
        }
        if reading is not None and reading.text != episode.instruction:
            facts["read as"] = reading.text
        if doubt is not None:
            facts["doubt"] = f"{doubt.probability:.0%}" + (f": {doubt.reason}" if doubt.reason else "")
        if (name := labels(episode.task.scene).get(grabbed)) is not None:
            x, y, z = episode.world.object_position(name)
            facts["object"] = f"{grabbed} at x {x:.3f}, y {y:.3f}, z {z:.3f} m"
        if episode.variation:
            facts["variation"] = f"{episode.variation}, severity {episode.severity}; {episode.detail}".rstrip("; ")
        return facts

    def _rates(self) -> dict[str, float]:
        times = self._times
        if len(times) < 2 or times[-1] == times[0]:
            return {}
        return {"control": (len(times) - 1) / (times[-1] - times[0])}

    def _values(self, grabbed: str, speed: float) -> dict[str, Value]:
        episode = self._episode
        values: dict[str, Value] = {
            INSTRUCTION: episode.instruction,
            "task": episode.task.family,
            "seed": float(episode.seed),
            "driver": episode.driver.name,
            "variation": episode.variation or NONE,
            "severity": float(episode.severity),
            "speed": speed,
            GRAB: grabbed,
            "place": None,
            **self._knobs.values,
        }
        name = labels(episode.task.scene).get(grabbed)
        if name is not None:
            item = episode.world.object(name)
            x, y, z = episode.world.object_position(name)
            values |= {"place": (float(x), float(y), float(z)), "colour": item.colour, "shape": item.shape}
        return values
