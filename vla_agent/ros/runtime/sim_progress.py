"""What `vla-agent up sim` prints while it runs: scene, instruction, progress, success or timeout.  Without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EVERY = 40  # control steps between two lines of progress
SLOW = "  a machine too slow for real time: start again with --real_time_factor 0.25"


@dataclass(frozen=True)
class SimState:
    """The graph as its nodes report it on /diagnostics.

    ``scene``: task, seed and objects, in words; ``scene_instruction``: what the scene asks; ``steps``: control steps
    since the scene was laid out; ``limit``: the task's time limit, control steps; ``success``: reached since then.
    ``policy``, ``safety``: messages of these nodes; ``instruction``: what the policy follows.
    """

    scene: str
    scene_instruction: str
    steps: int
    limit: int
    success: bool
    policy: str
    safety: str
    instruction: str


def read_state(values: Mapping[str, Mapping[str, str]], messages: Mapping[str, str]) -> SimState | None:
    """From the nodes' values and messages by node name; None while the simulated robot is silent."""
    sim = values.get("sim_robot_node", {})
    if "instruction" not in sim:
        return None
    return SimState(
        scene=f"{sim['task']}, seed {sim['seed']}: {sim['objects']}",
        scene_instruction=sim["instruction"],
        steps=int(sim["steps"]),
        limit=int(sim["limit"]),
        success=sim["success"] == "True",
        policy=messages.get("policy_node", "starting"),
        safety=messages.get("safety_node", "starting"),
        instruction=values.get("policy_node", {}).get("instruction", ""),
    )


class SimProgress:
    """Turns states into lines, each of them once.

    Steps are counted from the first action for an instruction in a scene.  Success is the scene's own goal: it is not
    judged while the policy follows another instruction.

    Args:
        period: seconds of a control step.
        client: the command in front of a client's arguments, such as ``python -m vla_agent.ros.client``.
    """

    def __init__(self, period: float, client: str) -> None:
        self._period, self._client = period, client
        self._scene: tuple[str, str] | None = None
        self._scene_steps: int | None = None
        self._instruction = self._policy = self._safety = ""
        self._began: int | None = None  # steps at the first action
        self._reported = 0
        self._done = False

    def lines(self, state: SimState) -> list[str]:
        """What is new in ``state``."""
        lines = self._scene_lines(state)
        lines += self._node_lines(state)
        if state.safety.startswith("stopped"):
            self._began = None  # steps count from the first action after the reset
        elif self._began is None:
            if state.policy.startswith("acting"):
                self._began, self._reported = state.steps, 0
        else:
            lines += self._progress_lines(state, state.steps - self._began)
        return lines

    def _scene_lines(self, state: SimState) -> list[str]:
        """The scene where it is new, and the instruction where it has changed."""
        scene = (state.scene, state.scene_instruction)
        new = scene != self._scene or (self._scene_steps is not None and state.steps < self._scene_steps)
        self._scene_steps = state.steps
        lines = []
        if new:
            self._scene = scene
            lines = [f"scene {state.scene}", f'the scene asks: "{state.scene_instruction}"']
        if state.instruction != self._instruction:
            lines += [f'instruction: "{state.instruction}"' if state.instruction else "no instruction: the robot rests"]
        if new or state.instruction != self._instruction:
            self._instruction, self._began, self._done = state.instruction, None, False
        return lines

    def _node_lines(self, state: SimState) -> list[str]:
        """What policy and safety node report, where it has changed."""
        lines = []
        if state.policy != self._policy:
            self._policy = state.policy
            lines.append(f"policy: {state.policy}")
        if state.safety != self._safety:
            if state.safety.startswith("stopped"):
                lines += [f"safety node: {state.safety}", f"  to go on: {self._client} call safety/reset"]
                lines += [SLOW] if state.safety.startswith("stopped: command: none") else []
            self._safety = state.safety
        return lines

    def _progress_lines(self, state: SimState, steps: int) -> list[str]:
        if self._done:
            return []
        own = state.instruction == state.scene_instruction
        time = f"{steps * self._period:.1f} s of simulation"
        if own and state.success:
            self._done = True
            return [f"success after about {steps} control steps, {time}", *self._next()]
        if own and steps >= state.limit:
            self._done = True
            return [f"timeout: no success within {state.limit} control steps; the policy goes on", *self._next()]
        if steps < self._reported + EVERY:
            return []
        self._reported = steps
        judged = f" of {state.limit}" if own else ""
        note = "" if own else "; not the scene's own instruction, so success is not judged"
        return [f"control step {steps}{judged}, {time}{note}"]

    def _next(self) -> list[str]:
        return [f"  another scene: {self._client} set sim_robot_node seed 1; {self._client} call sim/reset"]
