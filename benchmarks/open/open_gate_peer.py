"""A policy of LeRobot, trained by `lerobot-train` and served from LeRobot's own environment, through a gate.

Nothing of the policy is changed for it: the gate asks the server, and the certificate binds the files of the folder
that LeRobot wrote and what they are served with.  Each row is a case with what must come out of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "open-gate-peer"
TITLE = (
    "ACT of LeRobot, unchanged, through a gate: cases that come out as they must (certified, verified, other refused)"
)
TARGET = 1.0
UNIT = "of all cases"
BETTER = "higher"

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.path.relpath(ROOT / "runs" / "bench" / NAME))
TASK, EPISODES, SEED, IMAGE = "press_button", 50, 5_500_000, 96  # demonstrations
STEPS, BATCH = 60, 8  # enough for a policy that acts: what is shown is the way through the gate
SIZES = {"pretrained_backbone_weights": "null", "dim_model": 128, "n_heads": 4, "dim_feedforward": 512}
SIZES |= {"n_encoder_layers": 2, "n_vae_encoder_layers": 1, "chunk_size": 16, "n_action_steps": 8}
GATE = ROOT / "gates" / "smoke.yaml"
SWAPPED = ("front=observation.images.wrist", "wrist=observation.images.front")


def demonstrations() -> Path:
    """The folder of the demonstrations; made where it is not there."""
    from vla_agent.training.data_items import Collect
    from vla_agent.training.made_data import make_data

    folder = FOLDER / "data"
    if not folder.exists():
        wanted = Collect.model_validate({"name": "data", "tasks": [TASK], "episodes": EPISODES, "seed": SEED})
        make_data(wanted, folder, IMAGE, workers=1)
    return folder


def trained(data: Path) -> Path:
    """LeRobot's folder of the trained policy; trained where it is not there."""
    from benchmarks.lerobot.lerobot_program import run_lerobot

    run = (FOLDER / f"act-{STEPS}").absolute()
    folder = run / "checkpoints" / "last" / "pretrained_model"
    if not folder.exists():
        shutil.rmtree(run, ignore_errors=True)
        options = [f"--policy.{key}={value}" for key, value in SIZES.items()]
        options += ["--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false", "--num_workers=0"]
        options += ["--dataset.repo_id=local/peer", f"--dataset.root={data}", f"--output_dir={run}"]
        options += [f"--steps={STEPS}", f"--batch_size={BATCH}", f"--save_freq={STEPS}", "--log_freq=100"]
        run_lerobot(["tests/lerobot_check/train.py", *options], FOLDER.absolute())
    return folder


def gate(url: str, folder: Path) -> Path:
    """The output folder of the gate of the served policy, with a key of the benchmark's own."""
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.run_gate import GateSettings, run_gate

    own, out = FOLDER / "keys", FOLDER / f"gate-{STEPS}"
    if not (own / "benchmarks.key").exists():
        keys.create("benchmarks", own)
    if not (out / "certificate.json").exists():
        run_gate(
            GateSettings(
                url,
                GATE,
                out,
                robot="sim",
                private=keys.load_private("benchmarks", own),
                ledger_file=own / "ledger.jsonl",
                policy_files=folder,
                resume=(out / "attempt.json").exists(),
            )
        )
    return out


def cases(url: str, swapped: str, folder: Path, out: Path) -> Iterator[tuple[str, bool, str]]:
    """What is tried, whether it came out as it must, and what was found."""
    from vla_agent.errors import VlaAgentError
    from vla_agent.gate.candidate import find_candidate
    from vla_agent.gate.certificate.certificate import read_certificate
    from vla_agent.gate.certificate.enforce import Deployment, require_certificate
    from vla_agent.gate.certificate.verify import replay_sample, verify

    keys, file = FOLDER / "keys", out / "certificate.json"
    payload = read_certificate(file).payload
    counts = payload["counts"]["success"]
    bound = f"verdict {payload['verdict']}, success {counts['k']} of {counts['n']}"
    yield (
        "a certificate binds its files",
        {"config.json", "model.safetensors"} <= set(payload["policy"]["files"]),
        bound,
    )

    def check(asked: str, files: Path) -> list[str]:
        return [str(d) for d in verify(file, files, keys=keys, ledger=keys / "ledger.jsonl", server=asked)]

    same = check(url, folder) + [str(d) for d in replay_sample(file, url, 3, seed=0)]
    yield "verified, three episodes replayed while the server is asked", not same, "; ".join(same) or "no difference"
    other = FOLDER / "changed"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(folder, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    found = check(url, other)
    yield "one bit of the weights is another: named", any("model.safetensors" in d for d in found), found[0][:90]
    found = check(swapped, folder)
    yield "the same files, served with swapped cameras: named", any("served with" in d for d in found), found[0][:90]
    for what, files in (("without the folder of its files", None), ("with a folder of other files", other)):
        try:
            find_candidate(url, policy_files=files)
            yield f"a gate {what}: refused", False, "accepted"
        except VlaAgentError as error:
            yield f"a gate {what}: refused", True, f"{error.what}: {error.key}"
    try:
        require_certificate(url, file, Deployment("sim", hardware=False), keys=keys)
        yield "the robot takes it exactly where it passed", payload["verdict"] == "pass", "taken"
    except VlaAgentError as error:
        yield "the robot takes it exactly where it passed", payload["verdict"] != "pass", f"{error.what}: {error.key}"


def run() -> dict[str, Any]:
    """Train, serve, gate and check; what is there already is used."""
    from benchmarks.lerobot.lerobot_program import served

    data = demonstrations().absolute()
    folder = trained(data)
    words = [str(folder), "--contract", str(data)]
    with (
        served(words, FOLDER.absolute()) as url,
        served([*words, *(w for c in SWAPPED for w in ("--camera", c))], FOLDER.absolute()) as swapped,
    ):
        out = gate(url, folder)
        found = list(cases(url, swapped, folder, out))
    rows = [{"case": what, "as it must": right, "found": text} for what, right, text in found]
    return {
        "value": sum(right for _, right, _ in found) / len(found),
        "n": len(found),
        "interval": None,
        "seeds": f"the gate's own; demonstrations from {SEED}",
        "rows": rows,
        "notes": f"ACT of LeRobot 0.4.4 without pretrained weights, {STEPS} steps of {BATCH} on {EPISODES} "
        f"demonstrations of {TASK}; gates/smoke.yaml, which exercises the machinery and shows nothing for hardware",
    }
