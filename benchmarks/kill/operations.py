"""The operations that are killed: what stands before, the command, and what has to hold afterwards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.badinput.good_inputs import Good, write_dataset
from benchmarks.kill.killed_process import Command, finish
from vla_agent.errors import VlaAgentError
from vla_agent.gate.evidence.episode_log import FOLDER

MAPPING = """\
format: lerobot
control_hz: 20
storage: images
cameras:
  - {name: front, at: observation.images.front, height: 96, width: 96}
  - {name: wrist, at: observation.images.wrist, height: 96, width: 96}
state:
  - {name: ee_position, at: observation.state, pick: [0, 1, 2], unit: m, frame: base}
action:
  - {name: ee_translation, at: action, pick: [0, 1, 2], unit: m, frame: base}
instruction: {own: true}
"""
RECIPE = """\
name: tiny
data: {{demonstrations: [{dataset}]}}
backbone: {{hidden_size: 32, stem_channels: [8, 16], film_blocks: 1, text_layers: 1, fusion_layers: 1}}
head: {{width: 32, depth: 1}}
pretrain: {{samples: 40, batch: 4, checkpoint_minutes: 0.0001}}
train_head: {{samples: 40, batch: 4, checkpoint_minutes: 0.0001}}
"""
GATE = """\
format: 2
name: tiny
tasks: [press_button]
block: 1
reported: 1
estimated: 1
delay_ms: 50
checks:
  success: {threshold: 0.05, margin: 0.60}
  family: {threshold: null}
  language: [{probe: swap, threshold: 0.02, margin: 0.40}]
"""
Faults = list[str]


@dataclass(frozen=True)
class Operation:
    """One operation in folders of its own.

    Args:
        command: folder -> what is run and killed there.
        again: folder -> what is run after a kill, to the end.
        left: folder, folder of an uninterrupted run -> what is wrong in what a killed process left.
        done: the same after ``again``.
        prepare: folder -> makes what stands there before.
    """

    name: str
    command: Callable[[Path], Command]
    again: Callable[[Path], Command]
    left: Callable[[Path, Path], Faults]
    done: Callable[[Path, Path], Faults]
    prepare: Callable[[Path], None] = lambda folder: None


def operations(root: Path) -> list[Operation]:
    """All operations on inputs below ``root``, which are made here."""
    good = Good(root / "good")
    assert good.policy.is_dir() and good.dataset.is_dir()
    os.environ["VLA_AGENT_CACHE"] = str(root / "cache")
    os.environ["VLA_AGENT_KEYS"] = str(root / "keys")
    for name, text in (("mapping.yaml", MAPPING), ("gate.yaml", GATE)):
        (root / name).write_text(text, encoding="utf-8")
    (root / "recipe.yaml").write_text(RECIPE.format(dataset=good.dataset), encoding="utf-8")
    long = write_dataset(root / "long", good.contract, frames=60)
    _make_key(root / "keys")
    return [
        _save(good),
        _collect(),
        _train(root),
        _finetune(good),
        _convert(root, long),
        _eval(),
        _gate(root),
        _edit(long),
    ]


def _save(good: Good) -> Operation:
    """A policy over another one: again and again, so that a kill falls into a saving."""
    save = lambda folder: partial(save_both, good.policy, folder / "policy", 12)  # noqa: E731

    def left(folder: Path, _: Path) -> Faults:
        return [] if _bits(folder / "policy") in variants(good.policy) else ["the policy is neither of the two"]

    def done(folder: Path, _: Path) -> Faults:
        wrong = _bits(folder / "policy") != variants(good.policy)[1]
        files = {path.name for path in good.policy.iterdir()} | {"README.md"}
        beside = left_beside(folder, {"policy"}) + left_beside(folder / "policy", files)
        return ["the policy is not the one saved last"] * wrong + beside

    def prepare(folder: Path) -> None:
        shutil.copytree(good.policy, folder / "policy")
        (folder / "policy" / "README.md").write_text("kept by every saving")

    return Operation("save", save, lambda f: partial(save_both, good.policy, f / "policy", 2), left, done, prepare)


def save_both(source: Path, folder: Path, times: int) -> None:
    """Save two policies in turn over what stands in ``folder``."""
    for k in range(times):
        _variant(source, k % 2).save(folder)


def _variant(source: Path, number: int) -> Any:
    import torch

    from vla_agent.policy.loading import load_policy

    policy = load_policy(source)
    with torch.no_grad():
        next(policy.head.parameters()).add_(0.5 * number)
    return policy


def variants(source: Path) -> list[str]:
    """The weights of the two policies of `save_both`, as they are on the disk."""
    import torch

    def stored(policy: Any) -> str:
        names = {name for name, _ in policy.named_parameters()}
        state = policy.state_dict()
        return _digest({k: v.to(torch.bfloat16).float() if k in names else v for k, v in state.items()})

    return [stored(_variant(source, number)) for number in (0, 1)]


def _collect() -> Operation:
    words = ["--tasks", "press_button", "--episodes", "3", "--image-size", "32", "--resume"]
    return Operation(
        "collect",
        lambda f: ["collect", *words, "-o", str(f / "data")],
        lambda f: ["collect", *words, "-o", str(f / "data")],
        _left_dataset,
        lambda f, whole: _same_dataset(f, whole) + left_beside(f, {"data"}),
    )


def _train(root: Path) -> Operation:
    def command(folder: Path) -> list[str]:
        return ["train", str(root / "recipe.yaml"), "-o", str(folder / "run"), "--resume"]

    return Operation("train", command, command, partial(_left_training, ("pretrain", "head")), _same_policy)


def _finetune(good: Good) -> Operation:
    settings = ("train.samples=40", "train.batch=4", "train.checkpoint_minutes=0.0001", "train.warmup_steps=0")

    def command(folder: Path) -> list[str]:
        words = ["finetune", str(good.policy), "--data", str(good.dataset), "-o", str(folder / "run"), "--resume"]
        return [*words, *(word for setting in settings for word in ("--set", setting))]

    return Operation("finetune", command, command, partial(_left_training, ("tune",)), _same_policy)


def _convert(root: Path, source: Path) -> Operation:
    def command(folder: Path) -> list[str]:
        return ["data", "convert", str(source), "--mapping", str(root / "mapping.yaml"), "-o", str(folder / "data")]

    return Operation("convert", command, _unless_there(command), _left_dataset, _same_dataset)


def _edit(source: Path) -> Operation:
    def command(folder: Path) -> list[str]:
        return ["data", "edit", str(source), "--trim", "0:3-50", "-o", str(folder / "data")]

    return Operation("edit", command, _unless_there(command), _left_dataset, _same_dataset)


def _eval() -> Operation:
    words = ["eval", "expert", "--tasks", "press_button", "--episodes", "3", "--controls", "none", "--workers", "1"]

    def command(folder: Path) -> list[str]:
        return [*words, "--resume", "--out", str(folder / "out")]

    def left(folder: Path, whole: Path) -> Faults:
        return _rows_differ(folder, whole) if (folder / "out" / "report.json").exists() else []

    def done(folder: Path, whole: Path) -> Faults:
        names = {path.name for path in (whole / "out").iterdir()}
        return _rows_differ(folder, whole) + left_beside(folder / "out", names)

    return Operation("eval", command, command, left, done)


def _gate(root: Path) -> Operation:
    def command(folder: Path) -> list[str]:
        words = ["gate", "expert", "--suite", str(root / "gate.yaml"), "--key", "lab", "--workers", "1"]
        return [*words, "--ledger", str(folder / "ledger.jsonl"), "--resume", "-o", str(folder / "out")]

    def left(folder: Path, _: Path) -> Faults:
        faults = verified(folder) if (folder / "out" / "certificate.json").exists() else []
        return [fault for fault in faults if _ended(folder) or not lacks_its_last_line(fault)]

    def again(folder: Path) -> Command:
        return nothing if _ended(folder) else command(folder)

    def done(folder: Path, whole: Path) -> Faults:
        return verified(folder) + left_beside(folder / "out", {path.name for path in (whole / "out").iterdir()})

    return Operation("gate", command, again, left, done)


def _ended(folder: Path) -> bool:
    """Whether a gate came to its end: the certificate and the ledger's copy are there, the scratch files are not."""
    out = folder / "out"
    return all((out / name).exists() for name in ("certificate.json", "ledger.jsonl")) and not (out / FOLDER).exists()


def lacks_its_last_line(fault: str) -> bool:
    """Whether verify refuses a certificate for this alone: the ledger's last line, which ``--resume`` adds."""
    return "differs: ledger.finish:" in fault and "not valid: 1 difference" in fault


def verified(folder: Path) -> Faults:
    """What `vla-agent verify` says against a certificate, without its replay."""
    certificate, log = folder / "out" / "certificate.json", folder.with_suffix(".verify.log")
    words = ["verify", str(certificate), "--ledger", str(folder / "ledger.jsonl"), "--replay", "0"]
    code, _, _ = finish(words, log)
    return [f"verify: exit code {code}: {log.read_text(errors='replace')[-500:]}"] if code else []


def _unless_there(command: Callable[[Path], Sequence[str]]) -> Callable[[Path], Command]:
    """The command where its dataset is not there yet; it refuses to write over one."""
    return lambda folder: nothing if (folder / "data").exists() else command(folder)


def nothing() -> None:
    """What is left to do where the operation was over."""


def _left_dataset(folder: Path, whole: Path) -> Faults:
    return _same_dataset(folder, whole) if (folder / "data").exists() else []


def _same_dataset(folder: Path, whole: Path) -> Faults:
    from vla_agent.data.lerobot.dataset_reader import load

    try:
        equal = load(folder / "data").hash == load(whole / "data").hash
    except VlaAgentError as error:
        return [str(error)]
    return [] if equal else ["the dataset is another one"]


def _left_training(stages: Sequence[str], folder: Path, whole: Path) -> Faults:
    """What loads must be the finished run's; the last checkpoint must be whole."""
    from safetensors.torch import load_file

    from vla_agent.training.loop.stage_checkpoint import last_checkpoint

    faults = [
        f"{name} loads and is wrong"
        for name in ("adapter", "policy")
        if _bits(folder / "run" / name) not in ("", _bits(whole / "run" / name))
    ]
    for stage in stages:
        checkpoint = last_checkpoint(folder / "run", stage)
        for name in ("model", "ema", "optimiser") if checkpoint else ():
            try:
                load_file(checkpoint / f"{name}.safetensors")  # type: ignore[operator]
            except Exception as error:
                faults.append(f"{name} of the checkpoint: {type(error).__name__}")
    return faults


def _same_policy(folder: Path, whole: Path) -> Faults:
    run, other = folder / "run", whole / "run"
    faults = [] if _bits(run / "policy") == _bits(other / "policy") != "" else ["the policy is another one"]
    names = {path.name for path in (other / "policy").iterdir()}
    return faults + left_beside(run / "policy", names) + left_beside(run, {path.name for path in other.iterdir()})


def _rows_differ(folder: Path, whole: Path) -> Faults:
    from vla_agent.evaluation.result_store import read_report

    try:
        rows, wanted = (read_report(f / "out" / "report.json")["episodes"] for f in (folder, whole))
    except VlaAgentError as error:
        return [str(error)]
    return [] if json.dumps(rows) == json.dumps(wanted) else ["the report has other episodes"]


def left_beside(folder: Path, names: set[str]) -> Faults:
    """Files that are missing in a folder, or that nobody needs."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    odd = sorted(found ^ names)
    return [f"{folder.name}: missing or left behind: {', '.join(odd)}"] if odd else []


def _bits(folder: Path) -> str:
    """SHA-256 over a policy's weights in memory; empty where it does not load."""
    from vla_agent.policy.loading import load_policy

    try:
        return _digest(load_policy(folder).state_dict())
    except VlaAgentError:
        return ""


def _digest(state: dict[str, Any]) -> str:
    import hashlib

    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(name.encode() + state[name].detach().contiguous().numpy().tobytes())
    return sha.hexdigest()


def _make_key(folder: Path) -> None:
    from vla_agent.gate.certificate import keys

    keys.create("lab", folder)
