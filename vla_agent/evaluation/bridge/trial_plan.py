"""Which scenes to try on the robot: fixed by the seeds, before anybody looks at simulated outcomes."""

from __future__ import annotations

import csv
import io

from vla_agent.errors import OptionError
from vla_agent.evaluation.bridge.simulated_episodes import Simulated


def trial_plan(simulated: Simulated, number: int) -> str:
    """CSV text with ``number`` scenes to try, an equal number of each task, and an empty column ``success``.

    The scenes are the first of each task in the report's order, which is that of the seeds.

    Raises:
        OptionError: no such number of scenes of each task, with at least as many left for the simulation alone.
    """
    tasks = simulated.tasks
    scenes = {task: [scene for name, scene in simulated.outcomes if name == task] for task in tasks}
    each, more = divmod(number, len(tasks))
    wanted = {task: each + (place < more) for place, task in enumerate(tasks)}
    most = sum(len(found) // 2 for found in scenes.values())
    if number < 1 or any(count > len(scenes[task]) // 2 for task, count in wanted.items()):
        raise OptionError(
            "there are not that many scenes to try",
            key="--plan",
            expected=f"1 to about {most}: half of the simulated episodes of each task",
            found=number,
            remedy="vla-agent eval POLICY --episodes 500 --controls none: simulated episodes cost no trial",
        )
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    named = [simulated.policy] if simulated.policy else []
    seeds = all(scene.isdigit() for _, scene in simulated.outcomes)
    rows.writerow(["policy"] * bool(named) + ["task", "seed" if seeds else "scene", "success"])
    for place in range(max(wanted.values())):
        for task in tasks:
            if place < wanted[task]:
                rows.writerow([*named, task, scenes[task][place], ""])
    return text.getvalue()
