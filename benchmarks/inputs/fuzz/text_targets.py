"""Policy folders, and what is written in YAML and JSON: robots, gates, tasks, recipes, reports, certificates."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.badinput.good_inputs import Good
from benchmarks.inputs.fuzz.target import Target

ROOT = Path(__file__).parents[3]
GATE = "policies/tabletop-nano/evaluation/gate"


def _copy(source: str, name: str, folder: Path) -> None:
    shutil.copy(ROOT / source, folder / name)


def _report(folder: Path) -> None:
    """The shipped policy's report with two episodes."""
    report = json.loads((ROOT / "policies/tabletop-nano/evaluation/report.json").read_bytes())
    _write("report.json", report | {"episodes": report["episodes"][:2]}, folder)


def _policy(folder: Path) -> None:
    shutil.copytree(Good(folder / "made").policy, folder / "policy")
    shutil.rmtree(folder / "made")


def _reseal(folder: Path) -> None:
    """State the hashes that the files have now, as a wrong conversion would."""
    file = folder / "policy/policy.json"
    try:
        description = json.loads(file.read_bytes())
        for name in description["sha256"]:
            description["sha256"][name] = hashlib.sha256((folder / "policy" / name).read_bytes()).hexdigest()
    except (ValueError, KeyError, TypeError, OSError):
        return
    file.write_text(json.dumps(description))


def _load_policy(folder: Path) -> Any:
    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.policy.loading import load_policy

    policy = load_policy(folder / "policy")
    policy.reset("press the red button")
    return policy.act(blank_observation(policy.contract))


def _certificate(folder: Path) -> Any:
    from vla_agent.gate.certificate.certificate import read_certificate
    from vla_agent.gate.certificate.explanation import explain

    read_certificate(folder / "certificate.json")
    return explain(folder / "certificate.json", folder)


def _ledger(folder: Path) -> Any:
    from vla_agent.gate.certificate.lab_key import LabKey
    from vla_agent.gate.evidence.ledger import read_ledger

    return read_ledger(folder / "ledger.jsonl", LabKey({}))


@cache
def _readers() -> dict[str, Callable[[Path], Any]]:
    from sim.tasks.task_file import read as read_task
    from vla_agent.data.convert.mapping import load_mapping
    from vla_agent.evaluation.result_store import read_report
    from vla_agent.gate.decision.gate_file import load_gate
    from vla_agent.robot.cameras.calibration import read_calibration
    from vla_agent.robot.description import load_robot
    from vla_agent.serving.openpi import read_description
    from vla_agent.training.recipe import load_recipe

    return {
        "robot": load_robot,
        "gate": load_gate,
        "mapping": load_mapping,
        "camera": read_calibration,
        "task": read_task,
        "server": read_description,
        "recipe": load_recipe,
        "report": read_report,
    }


def _read(kind: str, name: str, folder: Path) -> Any:
    return _readers()[kind](folder / name)


CAMERA = {
    "image_width": 640,
    "image_height": 480,
    "camera_name": "front",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [500, 0, 320, 0, 500, 240, 0, 0, 1]},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, 0, 0, 0, 0]},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]},
}
SERVER = {
    "url": "ws://gpu:8000",
    "contract": "sim",
    "images": {"front": "observation/image"},
    "chunk_length": 10,
    "execute": 5,
    "image_size": [224, 224],
}


def _write(name: str, data: Any, folder: Path) -> None:
    (folder / name).write_text(json.dumps(data))


def targets() -> Iterator[Target]:
    """All of them."""
    copied = {
        "robot": [f"config/robots/{name}.yaml" for name in ("panda", "ur5e", "so101")],
        "gate": ["gates/tabletop.yaml", "gates/smoke.yaml"],
        "mapping": [f"config/data/{name}.yaml" for name in ("recorder", "libero", "lerobot_so101")],
        "task": ["sim/tasks/tabletop/put_in_tray.yaml", "sim/tasks/tabletop/stack.yaml"],
        "recipe": ["policies/tabletop-nano.yaml"],
    }
    for kind, sources in copied.items():
        for source in sources:
            name = Path(source).name
            yield Target(f"{kind} file {name}", partial(_copy, source, name), partial(_read, kind, name), (name,))
    for kind, data in (("camera", CAMERA), ("server", SERVER)):
        name = f"{kind}.yaml"
        yield Target(f"{kind} file", partial(_write, name, data), partial(_read, kind, name), (name,))
    yield Target("report file", _report, partial(_read, "report", "report.json"), ("report.json",))
    for name, read in (("certificate.json", _certificate), ("ledger.jsonl", _ledger)):
        yield Target(name, partial(_copy, f"{GATE}/{name}", name), read, (name,))
    files = ("policy/policy.json", "policy/*.safetensors", "policy/backbone/*.json", "policy/**/*")
    yield Target("policy folder, load and act", _policy, _load_policy, files, _reseal)
