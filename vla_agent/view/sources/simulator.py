"""The simulated tabletop as a source: a policy acts in a scene that viewers change while it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sim.env import TabletopEnv
from sim.tasks.task import select
from sim.world.scene import Scene
from vla_agent.errors import OptionError
from vla_agent.evaluation.robot_chain import RobotChain
from vla_agent.view.source import Command, Control, Frame
from vla_agent.view.sources.simulator_controls import GRAB, INSTRUCTION, NONE, controls
from vla_agent.view.sources.simulator_episode import Episode
from vla_agent.view.sources.simulator_frames import FrameMaker
from vla_agent.view.sources.simulator_knobs import NAMES as KNOBS
from vla_agent.view.sources.simulator_knobs import Knobs
from vla_agent.view.sources.simulator_scene import as_it_lies, changed, drag, labels, with_one_more, without

SCENE_STAYS = ("start", "step", "success", "failure", "driver", "speed", GRAB)  # the policy need not look again


@dataclass(frozen=True)
class SimulatorSettings:
    """What is shown first, and how.

    Attributes:
        policy: name of the policy, as `load_policy` takes it.
        task: name of a family or path of a task file.
        robot: robot file whose controller, filter and supervisor stand between policy and arm; empty: none.
        marks: JSON lines of the viewer's verdicts are appended here; None: they are counted and not kept.
    """

    policy: str
    task: str = "put_in_tray"
    seed: int = 0
    robot: str = ""
    openvino: bool = False
    marks: Path | None = None


class SimulatorSource:
    """See the module.  Begins stopped, with the policy's first look at the scene.

    Args:
        policy: in place of the one that ``settings`` names.
    """

    def __init__(self, settings: SimulatorSettings, policy: Any = None) -> None:
        self._settings, self._policy = settings, policy
        (self._family,) = select([settings.task]).values()
        self.title = f"{Path(settings.policy).name} in the simulator"
        self._speed, self._running = 1.0, False
        self._stale, self._changed = True, True  # the policy has to look again; there is something else to show
        self._edited: Scene | None = None
        self._grabbed = NONE
        self.marks = {"success": 0, "failure": 0}
        self._do: dict[str, Callable[[Any], None]] = {
            INSTRUCTION: self._instruct,
            "start": self._start_or_stop,
            "step": self._step_once,
            "reset": lambda _: self._begin(self._episode.seed, self._edited),
            "next": lambda _: self._begin(self._episode.seed + 1),
            "success": lambda _: self._mark("success"),
            "failure": lambda _: self._mark("failure"),
            "task": self._choose_task,
            "seed": lambda seed: self._begin(int(seed)),
            "driver": self._choose_driver,
            "speed": self._choose_speed,
            GRAB: self._grab,
            "colour": lambda colour: self._change(colour=str(colour)),
            "shape": lambda shape: self._change(shape=str(shape)),
            "add": lambda _: self._lay_out(with_one_more(self._now())),
            "remove": lambda _: self._lay_out(without(self._episode.task, self._now(), self._named())),
            "variation": self._vary,
            "severity": self._vary_more,
            "place": self._drag,
        }

    @property
    def hz(self) -> float:
        return float(self._env.contract.control_hz) * self._speed

    @property
    def controls(self) -> tuple[Control, ...]:
        return controls(self._family.name, self._settings.seed)

    def open(self) -> None:
        """Load the policy and lay out the first scene.

        Raises:
            CheckpointError: there is no such policy.
            ContractError: it is not made for this simulator.
            RobotError: there is no such robot.
            OSError: the file of marks cannot be written.
        """
        settings = self._settings
        if settings.marks is not None:
            settings.marks.open("a").close()  # said now, not at the first mark
        if self._policy is None:
            import torch

            from vla_agent.policy.loading import load_policy

            torch.set_num_threads(1)
            self._policy = load_policy(settings.policy, openvino=settings.openvino)
        self._env = TabletopEnv(self._family)
        theirs = getattr(self._policy, "contract", self._env.contract)
        self._env.contract.require(theirs, "the simulator", settings.policy, ignore=("chunk_length",))
        chain = None
        if settings.robot:
            from vla_agent.robot.description import load_robot

            chain = RobotChain(load_robot(settings.robot), self._env.world.control)
        self._episode = Episode(self._env, self._policy, chain)
        self._knobs = Knobs()
        self._episode.begin(settings.seed, None, self._knobs.dress)
        self._maker = FrameMaker(self._episode, self._knobs)

    def close(self) -> None:
        self._env.close()

    def step(self) -> Frame | None:
        """One control period while the episode runs; else a new look, where a viewer changed something."""
        self._running = self._running and not self._episode.over
        if self._running:
            self._maker.note(self._episode.advance())
        elif self._stale:
            self._episode.look_afresh()
        elif not self._changed:
            return None
        self._stale = self._changed = False
        return self._maker.frame(self._running, self._grabbed, self.marks, self._speed)

    def command(self, command: Command) -> None:
        """See `Source.command`.

        Raises:
            OptionError: it cannot be done now; the reason is in words.
            TaskError: the scene cannot be laid out.
        """
        self._changed = True
        if command.name in KNOBS:
            self._knobs.values[command.name] = command.value
            self._knobs.apply(self._env.world)
        else:
            self._do[command.name](command.value)
        self._stale = self._stale or command.name not in SCENE_STAYS

    # -- what the controls do --------------------------------------------------------------------------------------

    def _begin(self, seed: int, scene: Scene | None = None) -> None:
        """Another episode, stopped."""
        self._episode.begin(seed, scene, self._knobs.dress)
        self._running, self._edited, self._grabbed = False, scene, NONE
        self._maker.clear()

    def _start_or_stop(self, _: object) -> None:
        if not self._running and self._episode.over:
            self._begin(self._episode.seed, self._edited)
        self._running = not self._running

    def _step_once(self, _: object) -> None:
        self._running = False
        if self._episode.over:
            raise OptionError("the episode is over", key="step", remedy="reset it, or take the next scene")
        self._maker.note(self._episode.advance())

    def _instruct(self, text: str) -> None:
        words = str(text).strip()
        if not words:
            raise OptionError(
                "the instruction is empty",
                key=INSTRUCTION,
                remedy="write what to do, such as: put the red mug in the tray",
            )
        self._episode.instruct(words)

    def _choose_task(self, name: object) -> None:
        (family,) = select([self._settings.task if name == self._family.name else str(name)]).values()
        self._env.set_task(family)
        self._begin(self._episode.seed)

    def _choose_driver(self, name: object) -> None:
        self._episode.driver.name = str(name)

    def _choose_speed(self, speed: Any) -> None:
        self._speed = float(speed)

    def _mark(self, mark: str) -> None:
        episode, file = self._episode, self._settings.marks
        if file is not None:
            line = {
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "policy": self._settings.policy,
                "task": episode.task.family,
                "seed": episode.seed,
                "instruction": episode.instruction,
                "steps": episode.steps,
                "simulator": episode.success,
                "mark": mark,
            }
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
        self.marks[mark] += 1

    # -- objects, light, variations --------------------------------------------------------------------------------

    def _now(self) -> Scene:
        return as_it_lies(self._episode.task.scene, self._env.world)

    def _named(self) -> str:
        """Name of the object that is grabbed."""
        found = labels(self._episode.task.scene).get(self._grabbed)
        if found is None:
            raise OptionError("no object is chosen", key=GRAB, remedy="click one, or choose it in the list")
        return found

    def _grab(self, label: object) -> None:
        self._grabbed = str(label)

    def _drag(self, xyz: Any) -> None:
        drag(self._env.world, self._named(), xyz)

    def _change(self, shape: str | None = None, colour: str | None = None) -> None:
        name = self._named()
        self._lay_out(changed(self._now(), name, shape, colour))
        self._grabbed = next(label for label, other in labels(self._episode.task.scene).items() if other == name)

    def _lay_out(self, scene: Scene) -> None:
        """The episode from its beginning in a changed scene, with the instruction that the viewer gave."""
        words = self._episode.instruction
        self._begin(self._episode.seed, scene)
        self._episode.instruct(words)

    def _vary(self, name: object) -> None:
        before = self._episode.variation
        self._episode.variation = "" if name == NONE else str(name)
        try:
            self._begin(self._episode.seed)
        except OptionError:
            self._episode.variation = before
            raise

    def _vary_more(self, severity: Any) -> None:
        self._episode.severity = int(severity)
        if self._episode.variation:
            self._begin(self._episode.seed)
