"""``vla-agent export``: a policy as graphs with all that acting needs, compared with the policy before it is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vla_agent.errors import OptionError
from vla_agent.export.exported.exported_policy import RUNTIMES
from vla_agent.export.exported.graphs import FORMAT, MANIFEST
from vla_agent.export.exported.run import Policy
from vla_agent.export.making.graphs import specs, write_ir, write_onnx
from vla_agent.export.making.int8 import INT8_LIMIT, quantise
from vla_agent.export.making.observations import Drawn, Scenes, fits_simulator
from vla_agent.export.making.output_folder import require_own
from vla_agent.export.making.own_words import encoded, longest_wording
from vla_agent.export.making.parity import LIMIT, compare, require_parity
from vla_agent.export.making.portable import write_runner
from vla_agent.files.hashing import hash_file
from vla_agent.files.write_aside import folder_aside
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.normaliser import Normaliser
from vla_agent.policy.policy import VLAPolicy

WRITERS, ENDS = {"onnx": write_onnx, "openvino": write_ir}, {"onnx": ".onnx", "openvino": ".xml"}
FORMATS = {"onnx": ("onnx",), "openvino": ("openvino",), "both": ("onnx", "openvino")}


@dataclass(frozen=True)
class ExportSettings:
    """How a policy is exported.

    formats: of `RUNTIMES`.  int8: weights of ONNX's matrix products.  observations: to compare on.
    instructions: that a policy of a pretrained model shall know; others leave this empty.
    """

    formats: tuple[str, ...] = ("onnx",)
    int8: bool = False
    observations: int = 100
    instructions: tuple[str, ...] = ()


def export(policy: VLAPolicy, folder: Path, settings: ExportSettings) -> dict[str, Any]:
    """Write the exported policy, whole or not at all; its manifest.

    Raises:
        OptionError: the policy cannot be exported, something else than an export stands in the folder's place, or what
            was exported acts otherwise: then nothing is written.
    """
    require_own(folder)
    require_exportable(policy, settings)
    with folder_aside(folder) as aside:
        about = _described(policy, settings)
        for name, spec in specs(policy, about["text"]["length"]).items():
            for form in settings.formats:
                WRITERS[form](spec, aside / f"{name}{ENDS[form]}")
        _write_words(policy, aside, settings.instructions)
        write_runner(aside)
        _seal(aside, about)
        about["parity"] = _parities(policy, aside, settings.formats, settings)
        if settings.int8:
            quantise(aside / "policy.onnx")
            _seal(aside, about)
            about["parity"]["int8"] = _parities(policy, aside, ("onnx",), settings, INT8_LIMIT, mean=True)["onnx"]
        _seal(aside, about)
    return about


def require_exportable(policy: VLAPolicy, settings: ExportSettings) -> None:
    """Check that there are graphs for this policy, before any is made.

    Raises:
        OptionError: there are not; says why.
    """
    small = isinstance(policy.backbone, Backbone)
    head = getattr(policy, "head", None)
    wrong = None
    if not isinstance(head, DiffusionHead) or head.config.objective != "flow":
        wrong = ("a diffusion head trained by flow matching", type(head).__name__)
    elif policy.compiled or policy.quantised or policy.engine is not None:
        wrong = ("the policy as it was trained", "one that is accelerated")
    elif small == bool(settings.instructions):
        given = f"{len(settings.instructions)} instructions"
        wrong = ("instructions for a pretrained model, whose tokenizer stays behind, and for no other policy", given)
    elif not small and "openvino" in settings.formats:
        wrong = ("--format onnx for a pretrained model: OpenVINO 2026.4 crashes at its graph", "openvino")
    elif settings.int8 and "onnx" not in settings.formats:
        wrong = ("--int8 with --format onnx or both", "openvino")
    if wrong:
        raise OptionError(
            "this policy cannot be exported so",
            key="POLICY" if wrong[0].startswith(("a diff", "the policy")) else "--instructions, --format, --int8",
            expected=wrong[0],
            found=wrong[1],
            remedy="see vla-agent export --help; docs/export.md says what can be exported",
        )


def _described(policy: VLAPolicy, settings: ExportSettings) -> dict[str, Any]:
    """The manifest without hashes and parity."""
    reader, doubter, backbone = policy.reader, policy.doubter, policy.backbone
    small = isinstance(backbone, Backbone)
    longest = reader.net.encoder.config.max_position_embeddings if reader is not None else 0
    lengths = [len(ids) for ids in encoded(policy, settings.instructions).values()] if not small else []
    return {
        "format": FORMAT,
        "policy": {"digest": policy.digest, "parameters": policy.parameter_counts()},
        "contract": policy.contract.to_dict(),
        "execute": policy.execute,
        "normalised": {
            "state": _range(policy.state_normaliser),
            "action": _range(policy.action_normaliser),
        },
        "formats": list(settings.formats),
        "precision": "int8" if settings.int8 else "float32",
        "text": {
            "kind": "wordpiece" if small else "table",
            "length": longest_wording(policy) if small else max(lengths),
        },
        "reader": {"settings": reader.settings.to_dict(), "longest": longest} if reader is not None else None,
        "doubt": doubter.settings.to_dict() if doubter is not None else None,
        "unchecked": [
            *([] if doubter is not None else ["whether the scene has what the instruction names"]),
            *([] if doubter is not None else ["whether the words ask for harm"]),
            "whether the policy may move a robot: a certificate says that, vla-agent gate and vla-agent verify",
        ],
        "versions": {name: version(name) for name in ("vla_agent", "torch", "onnx", "onnxruntime", "openvino")},
    }


def _range(normaliser: Normaliser) -> dict[str, list[float]]:
    """What becomes -1 and 1; the graph has it inside, this is for people."""
    low, high = normaliser.shift - normaliser.scale, normaliser.shift + normaliser.scale
    return {"low": low.tolist(), "high": high.tolist()}


def _write_words(policy: VLAPolicy, folder: Path, instructions: Sequence[str]) -> None:
    """The tokenizers, or the instructions that were encoded."""
    if isinstance(policy.backbone, Backbone):
        policy.backbone.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    else:
        (folder / "instructions.json").write_text(json.dumps(encoded(policy, instructions), ensure_ascii=False))
    if policy.reader is not None:
        policy.reader.tokenizer.save(str(folder / "reader_tokenizer.json"), pretty=False)


def _seal(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest over the files that lie there."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != MANIFEST)
    about["sha256"] = {f.relative_to(folder).as_posix(): hash_file(f) for f in files}
    (folder / MANIFEST).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _parities(
    policy: VLAPolicy,
    folder: Path,
    runtimes: Sequence[str],
    settings: ExportSettings,
    limit: float = LIMIT,
    mean: bool = False,
) -> dict[str, Any]:
    """The parity of what was written, in each runtime."""
    threads = torch.get_num_threads()
    exported = {name: Policy(folder, open_graph=RUNTIMES[name], threads=threads) for name in runtimes}
    if fits_simulator(policy):
        source: Scenes | Drawn = Scenes(settings.instructions)
    else:
        source = Drawn(policy, settings.instructions or ("nothing",))
    parities = compare(policy, exported, source, settings.observations)
    for name, parity in parities.items():
        require_parity(parity, name, limit, mean)
    return {name: parity.to_dict() for name, parity in parities.items()}
