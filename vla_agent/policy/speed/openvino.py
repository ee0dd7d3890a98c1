"""A policy whose pictures-to-chunk path runs in OpenVINO, for one CPU: graphs made once from the PyTorch modules.

The small backbone (`PointingVLM`):

    pictures, encoded text --perceive--> hidden, points, seen, located        any instruction, without a new graph
    hidden, state, geometry, noise --denoise--> chunk                        all denoising steps in one graph

A pretrained vision-language model:

    pixels of all views --see--> image tokens                                the vision tower and its projector
    sequence, mask, positions --read--> hidden                               the language model, for any length
    hidden, state, mask, noise --denoise--> chunk

Products are in fp32, so that chunks differ from PyTorch's by rounding alone; where that is asked for, in bf16, or in
int8: weights with one scale a row, what they are multiplied with rounded as it comes, :data:`GROUP` numbers to a scale.
Beside int8, the rest of a pretrained model is in bf16; that of the small backbone and its head stays in fp32: they
compute with places in numbers, of which bf16 keeps eight bits (`policy-quantised` measures what that costs).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import OptionError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone, TextFeatures, stack_images
from vla_agent.models.backbones.pretrained.model_families import Vision
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.timing_sections import part
from vla_agent.policy.speed.quantising import LEAST

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

TRACED_WITH = ("put the red mug in the tray", "open the drawer")  # of different lengths: any length must do
GROUP = 64
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

    def forward(self, hidden: Tensor, state: Tensor, given: Tensor, x: Tensor) -> Tensor:
        """``given``: geometry (B, G) where the backbone says it, else the mask (B, N) of its hidden tokens."""
        masked = given.dtype == torch.bool
        condition = self.head.serving_condition(hidden, state, None if masked else given, given if masked else None)
        levels = torch.tensor(self.levels)[:, None].expand(-1, len(condition.summary))
        modulations = self.head.modulation_at(levels, condition).unbind()
        for i, modulation in enumerate(modulations):
            said = self.head.serve(x, levels[i, :1], condition, modulation)
            x = x + (self.sigmas[i + 1] - self.sigmas[i]) * said
        return x


class _See(nn.Module):
    def __init__(self, backbone: VLMBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        seen = self.backbone.see(pixels)
        return (seen.tokens, *seen.deep)


class _Read(nn.Module):
    def __init__(self, backbone: VLMBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, embeds: Tensor, allowed: Tensor, position: Tensor) -> Tensor:
        return self.backbone.read(embeds, allowed, position)


class Graph:
    """A compiled graph; copies share the code and have room of their own for what is computed."""

    def __init__(self, compiled: Any) -> None:
        import openvino

        self._compiled = compiled
        self._request = compiled.create_infer_request()
        fixed = not any(x.partial_shape.is_dynamic for x in compiled.inputs)
        held = compiled.inputs if fixed else ()
        self._inputs = [np.zeros(tuple(x.shape), x.element_type.to_dtype()) for x in held]
        for k, room in enumerate(self._inputs):
            self._request.set_input_tensor(k, openvino.Tensor(room, shared_memory=True))

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if not self._inputs:
            found = self._request.infer([x.numpy() for x in inputs])
            return [torch.from_numpy(array) for array in found.values()]
        for room, x in zip(self._inputs, inputs, strict=True):
            room[:] = x.numpy()
        return [torch.from_numpy(found) for found in self._request.infer().values()]

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return Graph(self._compiled)


class Engine:
    """In the place of backbone and head when a policy acts: the same arguments and results.

    Args:
        look: in the place of the backbone's ``features``.
        denoise: see `_Denoise`.
        chunk_shape: (T, A).
    """

    def __init__(
        self, look: Callable[[Any, Any], dict[str, Tensor]], denoise: Graph, chunk_shape: tuple[int, int]
    ) -> None:
        self._look, self._denoise, self._shape = look, denoise, chunk_shape

    def features(self, images: Any, text: Any) -> dict[str, Tensor]:
        """See `Backbone.features` and `VLMBackbone.features`, for one prompt."""
        return self._look(images, text)

    def sample(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor | None,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See `DiffusionHead.sample`; the noise is the same."""
        noise = torch.randn(len(state), *self._shape, generator=generator)
        given = mask.bool() if geometry is None and mask is not None else geometry
        assert given is not None
        with part("head: denoising"):
            return self._denoise(features, state, given, noise)[0]


class _Perceiving:
    """`Backbone.features` as one graph."""

    def __init__(self, graph: Graph, words: int) -> None:
        self._graph, self._words = graph, words

    def __call__(self, images: Tensor, text: TextFeatures) -> dict[str, Tensor]:
        with part("vision"):
            found = self._graph(images, *_padded(text, self._words))
        return dict(zip(_PERCEIVED, found, strict=True))


class _Watched:
    """`VLMBackbone.read`, which remembers its inputs."""

    def __init__(self, watched: Callable[..., Tensor]) -> None:
        self.watched = watched
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, *inputs: Any, **more: Any) -> Tensor:
        self.seen.append((*inputs, *more.values()))
        return self.watched(*inputs, **more)


class _Reading:
    """`VLMBackbone.read` as a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, embeds: Tensor, allowed: Tensor, position: Tensor) -> Tensor:
        return self._graph(embeds, allowed, position)[0]


class _Seeing:
    """`VLMBackbone.see` as a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, pixels: Tensor) -> Vision:
        tokens, *deep = self._graph(pixels)
        return Vision(tokens, tuple(deep))


def build_engine(policy: VLAPolicy, precision: str = "") -> Engine:
    """The graphs of a policy as it is now, in some ten seconds; later changes of its weights do not reach them.

    Args:
        precision: of the products: empty for fp32; ``bf16``; or ``int8``, and the rest of a pretrained model in bf16
            where there is that.

    Raises:
        OptionError: OpenVINO is not installed, the policy is of another kind, on a GPU or quantised, or the processor
            has no such products.
    """
    _require(policy, precision)
    head, contract, backbone = policy.head, policy.contract, policy.backbone
    images = stack_images(blank_observation(contract)["images"], contract.camera_names)
    noise = torch.zeros(1, contract.chunk_length, contract.action_dim)
    state = torch.zeros(1, contract.state_dim)
    look: Callable[[Any, Any], dict[str, Tensor]]
    with torch.no_grad():
        texts: list[Any] = [backbone.encode_text([words]) for words in TRACED_WITH]
        if isinstance(backbone, Backbone):
            assert isinstance(images, Tensor), "a PointingVLM's pictures have one size"
            words = backbone.model.config.max_text_length
            perceive = _compile(_Perceive(backbone), [(images, *_padded(texts[0], words))], precision, exact=True)
            look = _Perceiving(perceive, words)
            hidden = torch.zeros(1, backbone(images, texts[0]).hidden.shape[1], backbone.feature_dim)
            conditions = [(hidden, torch.zeros(1, backbone.geometry_dim))]
        else:
            look = backbone.features
            read = _Watched(backbone.read)
            _replace(backbone, read=read)
            conditions = [tuple(look(images, text)[name] for name in ("hidden", "mask")) for text in texts]
            _put_into_graphs(backbone, images, read, precision)
        examples = [(hidden, state, given, noise) for hidden, given in conditions]
        denoise = _compile(_Denoise(head), examples, precision, exact=isinstance(backbone, Backbone))
    return Engine(look, denoise, (contract.chunk_length, contract.action_dim))


def _put_into_graphs(backbone: VLMBackbone, images: Any, read: _Watched, precision: str) -> None:
    """Vision tower and language model run as graphs from here on; the latter where it reads a sequence in one go."""
    views = list(images.unbind(1)) if isinstance(images, Tensor) else images
    pixels = torch.cat([backbone.pixels(view) for view in views])
    _replace(backbone, read=read.watched)
    if all(isinstance(x, Tensor) for inputs in read.seen for x in inputs):
        _replace(backbone, read=_Reading(_compile(_Read(backbone), read.seen, precision)))
    _replace(backbone, see=_Seeing(_compile(_See(backbone), [(pixels,)], precision)))


def _replace(backbone: VLMBackbone, **methods: Any) -> None:
    """Put something in the place of a method, on this instance alone, as `vla_agent.policy.speed.compiling` does."""
    for name, made in methods.items():
        setattr(backbone, name, made)


def _require(policy: VLAPolicy, precision: str) -> None:
    def refuse(expected: str, found: str, remedy: str) -> OptionError:
        return OptionError(
            "this policy cannot run in OpenVINO", key="--openvino", expected=expected, found=found, remedy=remedy
        )

    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise refuse("the package openvino", str(error), "pip install 'vla_agent[openvino]'") from error
    if not isinstance(policy.head, DiffusionHead) or policy.head.config.objective != "flow":
        kind = f"{type(policy.head).__name__} ({policy.head.config.objective})"
        raise refuse("a diffusion head trained by flow matching", kind, "use --compile")
    if policy.state_normaliser.shift.device.type != "cpu":
        raise refuse("a policy on the CPU", str(policy.state_normaliser.shift.device), "use --compile")
    if policy.quantised or policy.compiled:
        found = f"--quantise {policy.quantised}" if policy.quantised else "--compile"
        raise refuse("no other change of how it is computed", found, "choose one of them")
    if precision == "bf16" and not has_bf16():
        raise refuse("a processor that multiplies in bf16", "one that does not", "leave --quantise out")


def _padded(text: TextFeatures, words: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, words, C), summary (B, C), mask (B, words): a graph of one shape is faster than one for any."""
    more = words - text.mask.shape[1]
    return F.pad(text.tokens, (0, 0, 0, more)), text.summary, F.pad(text.mask, (0, more))


def has_bf16() -> bool:
    """Whether OpenVINO multiplies in bf16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(module: nn.Module, examples: Sequence[Sequence[Tensor]], precision: str, exact: bool = False) -> Graph:
    """The module as a graph for inputs of the examples' shapes; where these differ, of any size.

    Args:
        exact: what ``int8`` does not round stays in fp32.
    """
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what is taken for constant is constant for one policy
        module = copy.deepcopy(module)  # one copy of a tracer's marks, not the policy's
        model = openvino.convert_model(module.eval(), example_input=tuple(x.clone() for x in examples[0]))
    for k, same in enumerate(zip(*examples, strict=True)):
        sizes = [found[0] if len(set(found)) == 1 else -1 for found in zip(*(x.shape for x in same), strict=True)]
        model.inputs[k].get_node().set_partial_shape(openvino.PartialShape(sizes))
    model.validate_nodes_and_infer_types()
    if precision == "int8":
        _quantise(model)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16"
        if precision and has_bf16() and not (exact and precision == "int8")
        else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if precision == "int8" else 0,
    }
    return Graph(openvino.Core().compile_model(model, "CPU", settings))


def _quantise(model: Any) -> None:
    """Put int8 weights, symmetric with a scale a row, in the place of those of the graph's products that are large."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        held = node.input_value(1).get_node() if node.get_type_name() == "MatMul" else None
        if held is None or held.get_type_name() != "Constant" or held.get_element_type().get_type_name() != "f32":
            continue
        weight = held.get_data()
        if weight.ndim != 2 or weight.size < LEAST:
            continue
        across = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(weight).max(across, keepdims=True), 1e-12).astype(np.float32) / 127
        rounded = ops.constant(np.round(weight / scale).astype(np.int8))
        node.input(1).replace_source_output((ops.convert(rounded, "f32") * ops.constant(scale)).output(0))
