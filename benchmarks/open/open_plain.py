"""What annotations gain, and whether data that LeRobot wrote trains as well as data that this project wrote.

One set of tabletop demonstrations in three forms (`plain_copies`), the recipe `policies/plain.yaml` and as many samples
for each; the policies are evaluated on seeds that nothing was trained or chosen on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NAME = "open-plain"
TITLE = (
    "plain demonstrations: success of policies/plain.yaml trained on data that LeRobot wrote, against the same data as "
    "this project writes it, in points (rows: also with annotations)"
)
TARGET = -10.0
UNIT = "points"
BETTER = "higher"

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.path.relpath(ROOT / "runs" / "bench" / NAME))
TASKS = ("press_button", "open_drawer", "put_in_tray")
EPISODES, SEED, IMAGE = 300, 5_400_000, 96  # demonstrations
SAMPLES = 36_000  # of each training, as the recipe has it
ENOUGH = 0.2  # success of the better policy, below which a difference says nothing
EVALUATED, FIRST = 20, 7_000_000  # a family
FORMS = {  # folder -> what it is
    "ours": "with the simulator's annotations",
    "plain": "without annotations",
    "lerobot": "without annotations, written by LeRobot 0.4.4 (AV1 video)",
}


def data_of(form: str) -> Path:
    """The folder of the demonstrations in a form; made where it is not there."""
    from benchmarks.open.plain_copies import write_plain, write_with_lerobot
    from vla_agent.training.data_items import Collect
    from vla_agent.training.made_data import make_data

    ours = FOLDER / "ours"
    if not ours.exists():
        wanted = Collect.model_validate({"name": "ours", "tasks": TASKS, "episodes": EPISODES, "seed": SEED})
        make_data(wanted, ours, IMAGE, workers=1)
    if form == "ours":
        return ours
    plain = write_plain(ours, FOLDER / "plain")
    return write_with_lerobot(plain, FOLDER / form) if form == "lerobot" else plain


def train_on(form: str) -> Path:
    """The policy's folder of the training on a form of the data; goes on with one that was stopped."""
    from vla_agent.training.recipe import load_recipe
    from vla_agent.training.train import train

    settings = [f"data.demonstrations=[{data_of(form)}]", f"end_to_end.samples={SAMPLES}"]
    settings += [f"data.contract={FOLDER / 'ours'}"] if form == "lerobot" else []
    out = FOLDER / f"train-{form}-{SAMPLES}"
    if not (out / "policy" / "policy.json").exists():
        train(load_recipe(ROOT / "policies" / "plain.yaml", tuple(settings)), out, resume=out.exists())
    return out / "policy"


def measure(form: str, episodes: int = EVALUATED, seed: int = FIRST) -> dict[str, Any]:
    """Success of the policy of a form on ``episodes`` of each family, and what its training took."""
    from benchmarks.shared.evaluations import families
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.evaluation.success_statistics import wilson

    policy = train_on(form)
    out = FOLDER / f"eval-{form}-{SAMPLES}-{seed}"
    settings = EvaluationSettings(
        str(policy), tasks=TASKS, episodes=episodes, seed=seed, controls="none", out=out, resume=out.exists()
    )
    counts = families(evaluate(settings)["summary"])
    k, n = sum(row["k"] for row in counts), sum(row["n"] for row in counts)
    low, high = wilson(k, n)
    row: dict[str, Any] = {"data": FORMS[form], "k": k, "n": n, "success": k / n, "low": low, "high": high}
    row |= {f["task"]: f"{f['k']} of {f['n']}" for f in counts}
    took = json.loads((policy / "training.json").read_text())
    return row | {"training minutes": round(took["seconds"]["end_to_end"] / 60, 1)}


def run() -> dict[str, Any]:
    """Train and evaluate all forms; what is there already is used."""
    from benchmarks.shared.evaluations import difference

    rows = {form: measure(form) for form in FORMS}
    plain, lerobot = ((rows[form]["k"], rows[form]["n"]) for form in ("plain", "lerobot"))
    points, interval = difference(lerobot, plain)
    enough = max(plain[0], lerobot[0]) >= ENOUGH * plain[1]
    gained, gain = difference((rows["ours"]["k"], rows["ours"]["n"]), plain)
    return {
        "value": round(100 * points, 1),
        "n": sum(row["n"] for row in rows.values()),
        "interval": [round(100 * bound, 1) for bound in interval],
        "seeds": f"{FIRST} to {FIRST + EVALUATED - 1} of each family; demonstrations from {SEED}",
        "rows": list(rows.values()),
        "passed": enough and 100 * points >= TARGET,
        "notes": (
            "" if enough else f"Too little trained to tell: neither policy without annotations reaches {ENOUGH:.0%}. "
        )
        + f"Annotations gain {100 * gained:.0f} points (95 % interval {100 * gain[0]:.0f} to "
        f"{100 * gain[1]:.0f}); {EPISODES} demonstrations of {', '.join(TASKS)}; {SAMPLES} samples for each, "
        "one thread; the minutes are those of a shared machine",
    }
