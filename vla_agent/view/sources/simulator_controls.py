"""What a viewer of the simulator can do."""

from __future__ import annotations

from sim.perturbations.catalogue import AXES, PROBES
from sim.tasks.task import load_suite
from sim.world.scene import COLOURS, SHAPES
from vla_agent.view.source import Button, Choice, Control, Handle, Slider, TextBox
from vla_agent.view.sources.simulator_episode import DRIVERS, POLICY
from vla_agent.view.sources.simulator_knobs import CONTROLS as KNOBS

NONE = "none"
OBJECTS, EPISODE, CHANGES = "Objects", "Episode", "Variations of the gate"
INSTRUCTION, GRAB = "instruction", "grab"


def controls(family: str, seed: int) -> tuple[Control, ...]:
    """Every control of the page, for a source that begins with this family and seed."""
    families = tuple(dict.fromkeys((*load_suite(), family)))
    return (
        TextBox(INSTRUCTION, "instruction", "", "tell the policy", "in the policy's words or your own"),
        Button("start", "start / stop", "space", "run or pause the simulation"),
        Button("step", "one step", "t", "one control period of 50 ms"),
        Button("reset", "reset", "r", "the same scene from its beginning"),
        Button("next", "next scene", "n", "the scene of the next seed"),
        Button("success", "mark success", "y", "your verdict on this episode"),
        Button("failure", "mark failure", "f", "your verdict on this episode"),
        Choice("task", "task", families, family, "", EPISODE),
        Slider("seed", "seed", 0, seed + 99, 1, seed, "", "decides the scene", EPISODE),
        Choice("driver", "who drives", DRIVERS, POLICY, "what the policy would do is shown, whoever drives", EPISODE),
        Slider("speed", "speed", 0.1, 4.0, 0.1, 1.0, "x", "of the simulation, as far as this machine can", EPISODE),
        Choice(GRAB, "object", (NONE,), NONE, "or click it; then drag its arrows", OBJECTS),
        Choice("colour", "its colour", tuple(COLOURS), "red", "", OBJECTS),
        Choice("shape", "its shape", SHAPES, "mug", "", OBJECTS),
        Button("add", "add an object", "", "in a colour and shape that the scene lacks", OBJECTS),
        Button("remove", "remove it", "", "not what the task is about", OBJECTS),
        *KNOBS,
        Choice("variation", "variation", (NONE, *AXES, *PROBES), NONE, "what a gate would change", CHANGES),
        Slider("severity", "severity", 1, 3, 1, 2, "", "", CHANGES),
        Handle("place", "place of the object"),
    )
