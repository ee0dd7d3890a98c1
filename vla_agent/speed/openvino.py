"""A policy whose pictures-to-chunk path runs in OpenVINO, for one CPU: two graphs, made once from the PyTorch modules.

    pictures, encoded text --perceive--> hidden, points, seen, located        any instruction, without a new graph
    hidden, state, geometry, noise --denoise--> chunk                        all denoising steps in one graph

Products are in fp32, so that chunks differ from PyTorch's by rounding alone.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.errors import OptionError
from vla_agent.execution.trial import blank_observation
from vla_agent.models.backbone import Backbone, TextFeatures, stack_images
from vla_agent.models.head import DiffusionHead
from vla_agent.speed.parts import part

if TYPE_CHECKING:
    from vla_agent.policy import VLAPolicy

TRACED_WITH = "put the red mug in the tray"
_PERCEIVED = ("hidden", "points", "seen", "located")


class _Perceive(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor, tokens: Tensor, summary: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        out = self.backbone(images, TextFeatures(tokens, summary, mask))
        return tuple(getattr(out, name) for name in _PERCEIVED)


class _Denoise(nn.Module):
    def __init__(self, head: DiffusionHead) -> None:
        super().__init__()
        self.head = head
        head.flow.set_timesteps(head.config.serve_steps)
        self.levels = [float(t) / 1000 for t in head.flow.timesteps]
        self.sigmas = [float(s) for s in head.flow.sigmas]

    def forward(self, hidden: Tensor, state: Tensor, geometry: Tensor, x: Tensor) -> Tensor:
        condition = self.head.serving_condition(hidden, state, geometry)
        levels = torch.tensor(self.levels)[:, None].expand(-1, len(condition.summary))
        modulations = self.head.modulation_at(levels, condition).unbind()
        for i, modulation in enumerate(modulations):
            said = self.head.serve(x, levels[i, :1], condition, modulation)
            x = x + (self.sigmas[i + 1] - self.sigmas[i]) * said
        return x


class Graph:
    """A compiled graph; copies share the code and have room of their own for what is computed."""

    def __init__(self, compiled: Any) -> None:
        import openvino

        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs = [np.zeros(tuple(x.shape), x.element_type.to_dtype()) for x in compiled.inputs]
        for k, room in enumerate(self._inputs):
            self._request.set_input_tensor(k, openvino.Tensor(room, shared_memory=True))

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        for room, x in zip(self._inputs, inputs, strict=True):
            room[:] = x.numpy()
        return [torch.from_numpy(found) for found in self._request.infer().values()]

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return Graph(self._compiled)


class Engine:
    """In the place of backbone and head when a policy acts: the same arguments and results."""

    def __init__(self, perceive: Graph, denoise: Graph, chunk_shape: tuple[int, int], words: int) -> None:
        self._perceive, self._denoise, self._shape, self._words = perceive, denoise, chunk_shape, words

    def features(self, images: Tensor, text: TextFeatures) -> dict[str, Tensor]:
        """See `Backbone.features`, for one prompt."""
        with part("vision"):
            found = self._perceive(images, *_padded(text, self._words))
        return dict(zip(_PERCEIVED, found, strict=True))

    def sample(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See `DiffusionHead.sample`; the noise is the same."""
        noise = torch.randn(len(state), *self._shape, generator=generator)
        with part("head: denoising"):
            return self._denoise(features, state, geometry, noise)[0]


def build_engine(policy: VLAPolicy) -> Engine:
    """The two graphs of a policy as it is now, in some ten seconds; later changes of its weights do not reach them.

    Raises:
        OptionError: OpenVINO is not installed, or the policy is of another kind, on a GPU or quantised.
    """
    _require(policy)
    backbone, head = policy.backbone, policy.head
    assert isinstance(backbone, Backbone) and isinstance(head, DiffusionHead)
    contract = policy.contract
    images = stack_images(blank_observation(contract)["images"], contract.camera_names)
    assert isinstance(images, Tensor), "a PointingVLM's pictures have one size"
    with torch.no_grad():
        text = backbone.encode_text([TRACED_WITH])
        words = backbone.model.config.max_text_length
        perceive = _compile(_Perceive(backbone), (images, *_padded(text, words)))
        hidden = torch.zeros(1, backbone(images, text).hidden.shape[1], backbone.feature_dim)
        state, geometry = torch.zeros(1, contract.state_dim), torch.zeros(1, backbone.geometry_dim)
        noise = torch.zeros(1, contract.chunk_length, contract.action_dim)
        denoise = _compile(_Denoise(head), (hidden, state, geometry, noise))
    return Engine(perceive, denoise, (contract.chunk_length, contract.action_dim), words)


def _require(policy: VLAPolicy) -> None:
    def refuse(expected: str, found: str, remedy: str) -> OptionError:
        return OptionError(
            "this policy cannot run in OpenVINO", key="--openvino", expected=expected, found=found, remedy=remedy
        )

    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise refuse("the package openvino", str(error), "pip install 'vla_agent[openvino]'") from error
    if not isinstance(policy.backbone, Backbone):
        raise refuse("a PointingVLM backbone", type(policy.backbone).__name__, "use --compile")
    if not isinstance(policy.head, DiffusionHead) or policy.head.config.objective != "flow":
        kind = f"{type(policy.head).__name__} ({policy.head.config.objective})"
        raise refuse("a diffusion head trained by flow matching", kind, "use --compile")
    if policy.state_normaliser.shift.device.type != "cpu":
        raise refuse("a policy on the CPU", str(policy.state_normaliser.shift.device), "use --compile")
    if policy.quantised or policy.compiled:
        found = f"--quantise {policy.quantised}" if policy.quantised else "--compile"
        raise refuse("no other change of how it is computed", found, "choose one of them")


def _padded(text: TextFeatures, words: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, words, C), summary (B, C), mask (B, words): a graph of one shape is faster than one for any."""
    more = words - text.mask.shape[1]
    return F.pad(text.tokens, (0, 0, 0, more)), text.summary, F.pad(text.mask, (0, more))


def _compile(module: nn.Module, example: Sequence[Tensor]) -> Graph:
    """The module as a graph for inputs of the example's shapes."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what is taken for constant is constant for one policy
        module = copy.deepcopy(module)  # one copy of a tracer's marks, not the policy's
        model = openvino.convert_model(module.eval(), example_input=tuple(x.clone() for x in example))
    for k, x in enumerate(example):
        model.inputs[k].get_node().set_partial_shape(openvino.PartialShape(list(x.shape)))
    model.validate_nodes_and_infer_types()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return Graph(openvino.Core().compile_model(model, "CPU", settings))
