"""The modules of a policy as graphs of ONNX, with names and shapes that a runner in any language can use.

    text     ids (1, L), mask (1, L) -> tokens, summary, queries                     once an instruction; small backbone
    policy   image.NAME (H, W, 3) uint8 each, state (D,), noise (T, A), text inputs
             -> chunk (T, A) in the contract's units, and sight.* where the policy doubts
    plane    points (N, 2), heights (N,) -> xy (N, 2)                                 where the policy doubts
    reader   ids (1, n) -> kinds, value.ROLE, pointers                                where it reads other words

The text is padded to one length: a graph of one shape is faster than one for any.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.errors import OptionError
from vla_agent.export.making.linear_resizing import area_resized, letterboxed
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.models.backbones.pretrained.pretrained_backbone import Prompt
from vla_agent.models.heads.denoising import Denoise
from vla_agent.models.reader.reader_settings import ROLES
from vla_agent.policy.policy import VLAPolicy

OPSET = 17
PREFIX = "image."


@dataclass(frozen=True)
class Spec:
    """A graph to be written: its module, example inputs by name, names of its outputs, inputs of any length."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    any_length: dict[str, dict[int, str]]


class _Text(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        tokens, summary = self.model.text(ids, mask)
        return tokens, summary, self.model.query_logits(tokens, mask)


class _Plane(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor, heights: Tensor) -> Tensor:
        return self.model.on_plane(points, heights)


class _Reader(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        out = self.net(ids, torch.ones_like(ids))
        return out.kinds, *(out.values[role] for role in ROLES), out.pointers


class _Acting(nn.Module):
    """What the policies of both backbones share: state and noise in, chunk out."""

    def __init__(self, policy: VLAPolicy) -> None:
        super().__init__()
        self.backbone, self.denoise, self.hand = policy.backbone, Denoise(policy.head), policy.hand
        self.state_normaliser, self.action_normaliser = policy.state_normaliser, policy.action_normaliser

    def chunk(self, features: dict[str, Tensor], state: Tensor, noise: Tensor) -> Tensor:
        geometry = self.backbone.geometry_of(features, None if self.hand is None else state[:, self.hand])
        extra = features["mask"] if geometry is None else geometry
        found = self.denoise(features["hidden"], self.state_normaliser(state), extra, noise[None])
        return self.action_normaliser.inverse(found.clamp(-1.5, 1.5))[0]


class _SmallPolicy(_Acting):
    def __init__(self, policy: VLAPolicy) -> None:
        super().__init__(policy)
        assert isinstance(policy.backbone, Backbone)
        self.model, self.size = policy.backbone.model, tuple(policy.backbone.model.config.image_size)
        self.sight = policy.doubter.sight if policy.doubter is not None else None

    def forward(
        self, state: Tensor, noise: Tensor, tokens: Tensor, summary: Tensor, text_mask: Tensor, *images: Tensor
    ):  # type: ignore[no-untyped-def]
        views = [area_resized(image.permute(2, 0, 1).float(), self.size) for image in images]
        pixels = (torch.stack(views)[None] / 255.0 - self.backbone.mean) / self.backbone.std
        stem = self.model.encode_images(pixels)
        features = self.backbone.named_features(self.model.fuse(stem, tokens, summary, text_mask))
        chunk = self.chunk(features, state[None], noise)
        return (chunk, *(self.sight.look(stem, _log_sigmoid) if self.sight is not None else ()))


class _PretrainedPolicy(_Acting):
    def forward(self, state: Tensor, noise: Tensor, ids: Tensor, mask: Tensor, *images: Tensor) -> Tensor:
        backbone = self.backbone
        height, width = backbone.size
        views = [letterboxed(image.permute(2, 0, 1)[None].float() / 255, (height, width)) for image in images]
        pixels = torch.cat(views)
        hidden, valid = backbone._hidden_states(backbone.image_tokens(pixels), len(images), Prompt(ids, mask))
        return self.chunk({"hidden": hidden.float(), "mask": valid}, state[None], noise)


def _log_sigmoid(x: Tensor) -> Tensor:
    """Finite where the logistic function is 0 in float32, as the operation of ONNX is not."""
    return -F.softplus(-x)


def specs(policy: VLAPolicy, length: int) -> dict[str, Spec]:
    """The graphs of a policy by name.

    Args:
        length: tokens of the longest instruction; shorter ones are padded.
    """
    contract = policy.contract
    images = {PREFIX + c.name: torch.zeros(c.height, c.width, 3, dtype=torch.uint8) for c in contract.cameras}
    inputs = {
        "state": torch.zeros(contract.state_dim),
        "noise": torch.zeros(contract.chunk_length, contract.action_dim),
    }
    ids = torch.zeros(1, length, dtype=torch.long)
    found = {}
    if isinstance(policy.backbone, Backbone):
        model = policy.backbone.model
        text = _Text(model)
        outputs = ("tokens", "summary", "queries")
        found["text"] = Spec(text, {"ids": ids, "mask": torch.ones_like(ids)}, outputs, {})
        made = dict(zip(outputs, text(ids, torch.ones_like(ids)), strict=True))
        inputs |= {"tokens": made["tokens"], "summary": made["summary"], "text_mask": torch.ones_like(ids)}
        sights = tuple(f"sight.{name}" for name in SightMaps._fields) if policy.doubter is not None else ()
        found["policy"] = Spec(_SmallPolicy(policy), inputs | images, ("chunk", *sights), {})
        if policy.doubter is not None:
            points = {"points": torch.zeros(2, 2), "heights": torch.zeros(2)}
            found["plane"] = Spec(_Plane(model), points, ("xy",), {"points": {0: "n"}, "heights": {0: "n"}})
    else:
        inputs |= {"ids": ids, "mask": torch.ones_like(ids, dtype=torch.bool)}
        found["policy"] = Spec(_PretrainedPolicy(policy), inputs | images, ("chunk",), {})
    if policy.reader is not None:
        read = ("kinds", *(f"value.{role}" for role in ROLES), "pointers")
        example = {"ids": torch.arange(5, 17)[None]}
        found["reader"] = Spec(_Reader(policy.reader.net), example, read, {"ids": {1: "n"}, "pointers": {2: "n"}})
    return found


@contextmanager
def _tracing() -> Iterator[None]:
    """Without gradients, warnings, and the one operation for a whole layer, which no graph has."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing: the values taken for constants are constant for one policy
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def write_onnx(spec: Spec, file: Path) -> None:
    """Trace a graph's module and write it, what is constant in it folded; the module itself stays as it is.

    Of torch's two exporters, the first takes seconds and fails for the vision towers of some families; then the second
    is taken, which takes a minute.  Either way the parity of the export decides.
    """
    try:
        _write_onnx(spec, file, dynamic_axes=spec.any_length, opset_version=OPSET, dynamo=False)
    except Exception:  # neither exporter has errors of one type
        if spec.any_length:
            raise
        try:
            _write_onnx(spec, file, opset_version=OPSET + 1, dynamo=True, external_data=False, verbose=False)
        except Exception as error:
            raise OptionError(
                "torch cannot write this policy's model as a graph of ONNX",
                key="POLICY",
                expected="a model whose operations do not depend on values; docs/export.md lists families",
                found=f"{type(error).__name__}: {str(error.__cause__ or error).splitlines()[0][:200]}",
                remedy="serve the policy as it is (vla-agent serve), or train one on a model of another family",
            ) from error


def _write_onnx(spec: Spec, file: Path, **how: Any) -> None:
    with _tracing():
        torch.onnx.export(
            copy.deepcopy(spec.module).eval(),
            tuple(x.clone() for x in spec.inputs.values()),
            str(file),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            **how,
        )
    _fold_constants(file)


def write_ir(spec: Spec, file: Path) -> None:
    """The same graph as OpenVINO's IR: ``file`` (.xml) and the weights beside it.

    From the module: where OpenVINO 2026.4 reads the small policy's graph of ONNX, it crashes.
    """
    import openvino

    with _tracing():
        module = copy.deepcopy(spec.module).eval()
        model = openvino.convert_model(module, example_input=tuple(x.clone() for x in spec.inputs.values()))
    for port, (name, example) in zip(model.inputs, spec.inputs.items(), strict=True):
        shape = [-1 if k in spec.any_length.get(name, {}) else size for k, size in enumerate(example.shape)]
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, spec.outputs, strict=True):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    openvino.save_model(model, str(file), compress_to_fp16=False)


def _fold_constants(file: Path) -> None:
    """Compute what depends on shapes alone once, here: a third of the operations, and half of the time to open it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # for any processor
    options.optimized_model_filepath = str(aside := file.with_suffix(".folded"))
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    aside.replace(file)
