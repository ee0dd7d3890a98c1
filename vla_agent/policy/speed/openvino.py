"""A policy whose path from images to chunk runs in OpenVINO on a CPU: graphs converted once from the PyTorch modules.

The small backbone (`PointingVLM`):

    images, encoded text --perceive--> hidden, points, seen, located          any instruction, without a new graph
    hidden, state, geometry, noise --denoise--> chunk                        all denoising steps in one graph

A pretrained vision-language model:

    pixels of all views --image_tokens--> image tokens                       the vision tower and its projector
    sequence, mask, positions --language_states--> hidden                    the language model, for any length
    hidden, state, mask, noise --denoise--> chunk

Matrix products are in fp32, so that chunks differ from PyTorch's by rounding only; as an option in bf16, or in int8:
weights with one scale a row, activations quantised dynamically with one scale for :data:`GROUP` numbers.  With int8,
the rest of a pretrained model is in bf16; that of the small backbone and its head stays in fp32: they compute with
explicit coordinates, of which bf16 keeps eight bits (`policy-quantised` measures the cost).
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
from vla_agent.models.backbones.pretrained.model_families import ImageTokens
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.heads.denoising import Denoise
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.heads.head_config import HeadInputs
from vla_agent.models.timing_sections import timed_section
from vla_agent.policy.speed.quantising import MIN_WEIGHT_SIZE

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

TRACED_WITH = ("put the red mug in the tray", "open the drawer")  # of different lengths: any length must work
GROUP = 64
_PERCEIVED = ("hidden", "points", "seen", "located")


def _perceived(backbone: Backbone) -> tuple[str, ...]:
    """Names of the features: those of `Backbone.features`, in order."""
    names = (*_PERCEIVED, "keypoints") if backbone.model.config.keypoints else _PERCEIVED
    return (*names, "stem") if backbone.keeps_stem else names


class _Perceive(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor, tokens: Tensor, summary: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        out = self.backbone(images, TextFeatures(tokens, summary, mask))
        return tuple(getattr(out, name) for name in _perceived(self.backbone))


class _ImageTokens(nn.Module):
    def __init__(self, backbone: VLMBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        image = self.backbone.image_tokens(pixels)
        return (image.tokens, *image.deep)


class _LanguageStates(nn.Module):
    def __init__(self, backbone: VLMBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, embeds: Tensor, allowed: Tensor, position: Tensor) -> Tensor:
        return self.backbone.language_states(embeds, allowed, position)


class Graph:
    """A compiled graph; copies share the code and have their own inference request (buffers)."""

    def __init__(self, compiled: Any) -> None:
        import openvino

        self._compiled = compiled
        self._request = compiled.create_infer_request()
        static = not any(x.partial_shape.is_dynamic for x in compiled.inputs)
        inputs = compiled.inputs if static else ()
        self._buffers = [np.zeros(tuple(x.shape), x.element_type.to_dtype()) for x in inputs]
        for k, buffer in enumerate(self._buffers):
            self._request.set_input_tensor(k, openvino.Tensor(buffer, shared_memory=True))

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if not self._buffers:
            outputs = self._request.infer([x.numpy() for x in inputs])
            return [torch.from_numpy(array) for array in outputs.values()]
        for buffer, x in zip(self._buffers, inputs, strict=True):
            buffer[:] = x.numpy()
        return [torch.from_numpy(array) for array in self._request.infer().values()]

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return Graph(self._compiled)


class Engine:
    """Replaces backbone and head when a policy acts: the same arguments and results.

    Args:
        features: replaces the backbone's ``features``, for one prompt.
        denoise: see `Denoise`.
        chunk_shape: (T, A).
    """

    def __init__(
        self, features: Callable[[Any, Any], dict[str, Tensor]], denoise: Graph, chunk_shape: tuple[int, int]
    ) -> None:
        self.features, self._denoise, self._shape = features, denoise, chunk_shape

    def sample(self, inputs: HeadInputs, generator: torch.Generator | None = None) -> Tensor:
        """See `DiffusionHead.sample`; the noise is the same."""
        features, state, geometry, mask = inputs
        noise = torch.randn(len(state), *self._shape, generator=generator)
        extra = mask.bool() if geometry is None and mask is not None else geometry
        assert extra is not None
        with timed_section("head: denoising"):
            return self._denoise(features, state, extra, noise)[0]


class _PerceiveGraph:
    """`Backbone.features` as one graph."""

    def __init__(self, graph: Graph, words: int, names: tuple[str, ...], fitted: Callable[[Any], Tensor]) -> None:
        self._graph, self._words, self._names, self._fitted = graph, words, names, fitted

    def __call__(self, images: Tensor, text: TextFeatures) -> dict[str, Tensor]:
        with timed_section("vision"):
            outputs = self._graph(self._fitted(images), *_padded(text, self._words))
        return dict(zip(self._names, outputs, strict=True))


class _InputRecorder:
    """`VLMBackbone.language_states`, which records its inputs."""

    def __init__(self, recorded: Callable[..., Tensor]) -> None:
        self.recorded = recorded
        self.inputs: list[tuple[Any, ...]] = []

    def __call__(self, *inputs: Any, **more: Any) -> Tensor:
        self.inputs.append((*inputs, *more.values()))
        return self.recorded(*inputs, **more)


class _LanguageGraph:
    """`VLMBackbone.language_states` as a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, embeds: Tensor, allowed: Tensor, position: Tensor) -> Tensor:
        return self._graph(embeds, allowed, position)[0]


class _VisionGraph:
    """`VLMBackbone.image_tokens` as a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, pixels: Tensor) -> ImageTokens:
        tokens, *deep = self._graph(pixels)
        return ImageTokens(tokens, tuple(deep))


def build_engine(policy: VLAPolicy, precision: str = "") -> Engine:
    """The graphs of a policy as it is now, in some ten seconds; later changes of its weights do not reach them.

    Args:
        precision: of the matrix products: empty for fp32; ``bf16``; or ``int8``, with the rest of a pretrained model in
            bf16 where the processor has it.

    Raises:
        OptionError: OpenVINO is not installed, the policy is of another kind, on a GPU or quantised, or the processor
            has no such products.
    """
    _require(policy, precision)
    head, contract, backbone = policy.head, policy.contract, policy.backbone
    images = stack_images(blank_observation(contract)["images"], contract.camera_names)
    noise = torch.zeros(1, contract.chunk_length, contract.action_dim)
    state = torch.zeros(1, contract.state_dim)
    features: Callable[[Any, Any], dict[str, Tensor]]
    with torch.no_grad():
        texts: list[Any] = [backbone.encode_text([words]) for words in TRACED_WITH]
        if isinstance(backbone, Backbone):
            images = backbone.fitted(images)
            words = backbone.model.config.max_text_length
            perceive = _compile(_Perceive(backbone), [(images, *_padded(texts[0], words))], precision, exact=True)
            features = _PerceiveGraph(perceive, words, _perceived(backbone), backbone.fitted)
            hidden = torch.zeros(1, backbone(images, texts[0]).hidden.shape[1], backbone.feature_dim)
            conditions = [(hidden, torch.zeros(1, backbone.geometry_dim))]
        else:
            features = backbone.features
            recorder = _InputRecorder(backbone.language_states)
            _replace(backbone, language_states=recorder)
            conditions = [tuple(features(images, text)[name] for name in ("hidden", "mask")) for text in texts]
            _use_graphs(backbone, images, recorder, precision)
        examples = [(hidden, state, extra, noise) for hidden, extra in conditions]
        denoise = _compile(Denoise(head), examples, precision, exact=isinstance(backbone, Backbone))
    return Engine(features, denoise, (contract.chunk_length, contract.action_dim))


def _use_graphs(backbone: VLMBackbone, images: Any, recorder: _InputRecorder, precision: str) -> None:
    """Run vision tower and language model as graphs; the latter only where it reads a whole sequence at once."""
    views = list(images.unbind(1)) if isinstance(images, Tensor) else images
    pixels = torch.cat([backbone.pixels(view) for view in views])
    _replace(backbone, language_states=recorder.recorded)
    if all(isinstance(x, Tensor) for inputs in recorder.inputs for x in inputs):
        language = _compile(_LanguageStates(backbone), recorder.inputs, precision)
        _replace(backbone, language_states=_LanguageGraph(language))
    _replace(backbone, image_tokens=_VisionGraph(_compile(_ImageTokens(backbone), [(pixels,)], precision)))


def _replace(backbone: VLMBackbone, **methods: Any) -> None:
    """Replace methods on this instance only, as `vla_agent.policy.speed.compiling` does."""
    for name, method in methods.items():
        setattr(backbone, name, method)


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
        raise refuse("no other acceleration of the same policy", found, "choose one of them")
    if precision == "bf16" and not has_bf16():
        raise refuse("a processor with bf16 instructions", "one without", "leave --quantise out")


def _padded(text: TextFeatures, words: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, words, C), summary (B, C), mask (B, words): a graph of one shape is faster than one for any."""
    padding = words - text.mask.shape[1]
    return F.pad(text.tokens, (0, 0, 0, padding)), text.summary, F.pad(text.mask, (0, padding))


def has_bf16() -> bool:
    """Whether OpenVINO multiplies in bf16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(module: nn.Module, examples: Sequence[Sequence[Tensor]], precision: str, exact: bool = False) -> Graph:
    """The module as a graph for inputs of the examples' shapes; dimensions that differ between them are dynamic.

    Args:
        exact: with ``int8``, everything else stays in fp32.
    """
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the values taken for constants are constant for one policy
        module = copy.deepcopy(module)  # tracing marks its module; the policy stays unmarked
        model = openvino.convert_model(module.eval(), example_input=tuple(x.clone() for x in examples[0]))
    for k, same in enumerate(zip(*examples, strict=True)):
        sizes = [found[0] if len(set(found)) == 1 else -1 for found in zip(*(x.shape for x in same), strict=True)]
        model.inputs[k].get_node().set_partial_shape(openvino.PartialShape(sizes))
    model.validate_nodes_and_infer_types()
    if precision == "int8":
        _quantise(model)
    bf16 = precision and has_bf16() and not (exact and precision == "int8")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if precision == "int8" else 0,
    }
    return Graph(openvino.Core().compile_model(model, "CPU", settings))


def _quantise(model: Any) -> None:
    """Replace the weights of the graph's large matrix products by int8, symmetric with one scale a row."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        operand = node.input_value(1).get_node() if node.get_type_name() == "MatMul" else None
        if operand is None or operand.get_type_name() != "Constant":
            continue
        if operand.get_element_type().get_type_name() != "f32":
            continue
        weight = operand.get_data()
        if weight.ndim != 2 or weight.size < MIN_WEIGHT_SIZE:
            continue
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(weight).max(axis, keepdims=True), 1e-12).astype(np.float32) / 127
        rounded = ops.constant(np.round(weight / scale).astype(np.int8))
        node.input(1).replace_source_output((ops.convert(rounded, "f32") * ops.constant(scale)).output(0))
