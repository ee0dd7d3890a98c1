"""Accelerations change chunks by rounding only, and say so where they change more."""

import copy
import ctypes
import gc
import sys
from argparse import Namespace
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from benchmarks.shared.plausible_state import plausible_state
from benchmarks.shared.random_vlms import save_small_vlm
from vla_agent.cli import main
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import OptionError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.models.timing_sections import timed_section, watch_sections
from vla_agent.policy.execution_settings import Execution
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.speed import latency_profile as profiling
from vla_agent.policy.speed.accelerate import accelerate
from vla_agent.policy.speed.compiling import INSTRUCTIONS
from vla_agent.policy.speed.machine_limits import Machine, measure
from vla_agent.policy.speed.operation_counts import Counter
from vla_agent.serving.session import share_weights
from vla_agent.training.tokenizer import build_tokenizer

CONTRACT = tabletop_contract((96, 96))
STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def signal_stack():
    """OpenVINO leaves this thread a stack for signals that it has freed: a signal in a later test would be the last."""
    libc, kept = ctypes.CDLL(None), ctypes.create_string_buffer(64)  # room for a stack_t
    libc.sigaltstack(None, kept)
    yield
    gc.collect()
    libc.sigaltstack(kept, None)


def fitted(backbone):
    rng = np.random.default_rng(0)
    policy = VLAPolicy(CONTRACT, backbone, HeadConfig(width=32, depth=2, heads=2, serve_steps=STEPS))
    policy.action_normaliser.fit_range(rng.normal(0, 0.01, (100, CONTRACT.action_dim)))
    policy.state_normaliser.fit_moments(rng.normal(size=(100, CONTRACT.state_dim)))
    for layer in (policy.head.tokens_out, *(b.cross_out for b in policy.head.blocks)):  # zero until trained
        torch.nn.init.normal_(layer.weight, std=0.3)
    return policy.eval().requires_grad_(False)


def pointing(move_kernel=5):
    """A small policy in which every layer that starts as the identity has an effect."""
    from transformers import ViTImageProcessorPil

    torch.manual_seed(0)
    tokenizer = build_tokenizer(list(INSTRUCTIONS))
    sizes = {"hidden_size": 32, "stem_channels": (8, 16), "film_blocks": 1, "text_layers": 1, "fusion_layers": 1}
    model = PointingVLM(PointingVLMConfig(vocab_size=len(tokenizer), move_kernel=move_kernel, **sizes))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                torch.nn.init.uniform_(tensor, low, low + 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
        if hasattr(module, "film") and isinstance(module.film, torch.nn.Linear):
            torch.nn.init.normal_(module.film.weight, std=0.3)
    torch.nn.init.normal_(model.view, std=0.5)
    processor = ViTImageProcessorPil(size={"height": 96, "width": 96}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2] * 3)
    return fitted(Backbone(model, tokenizer, processor))


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    """A small random SmolVLM with a head."""
    torch.manual_seed(0)
    return fitted(open_vlm(save_small_vlm("smolvlm", tmp_path_factory.mktemp("vlm")), VLMOptions(layer=1)))


def observation(seed=0):
    rng = np.random.default_rng(seed)
    images = {c.name: rng.integers(0, 255, (c.height, c.width, 3), dtype=np.uint8) for c in CONTRACT.cameras}
    return {"images": images, "state": plausible_state(CONTRACT, rng)}


def chunk(policy, text=INSTRUCTIONS[1]):
    policy.reset(text, seed=1)
    return policy.act(observation())


@pytest.mark.parametrize("move_kernel", [0, 5])
def test_folded_weights_give_the_features_of_the_whole_model(move_kernel):
    backbone = pointing(move_kernel).backbone
    images = torch.stack([torch.from_numpy(i) for i in observation()["images"].values()])[None]
    for text in INSTRUCTIONS:
        with torch.no_grad():
            encoded = backbone.encode_text([text])
            assert encoded.folded is not None
            folded, whole = backbone.features(images, encoded), backbone(images, encoded)
        for name, value in folded.items():
            torch.testing.assert_close(value, getattr(whole, name), atol=1e-4, rtol=1e-4)


def test_nothing_is_folded_in_training_or_with_several_prompts():
    backbone = pointing().backbone
    assert backbone.encode_text([INSTRUCTIONS[0]]).folded is None  # gradients are on
    with torch.no_grad():
        assert backbone.encode_text(list(INSTRUCTIONS)).folded is None
        assert backbone.encode_text([INSTRUCTIONS[0]]).pick(torch.tensor([0])).folded is None
        assert backbone.train().encode_text([INSTRUCTIONS[0]]).folded is None


def test_text_is_encoded_once_an_instruction(vlm):
    for policy in (pointing(), vlm):
        names = []

        def note(name, names=names):
            names.append(name)
            return nullcontext()

        policy.reset(INSTRUCTIONS[0])
        with watch_sections(note):
            policy.act(observation())
        assert "instruction" not in names and {"copy", "vision", "language", "head: condition"} <= set(names)
        assert names.count("head: denoising") == STEPS


def test_all_modulations_at_once_are_those_of_each_step():
    head = pointing().head
    condition = head.encode(torch.randn(2, 5, 32), torch.randn(2, CONTRACT.state_dim), torch.randn(2, 30))
    levels = torch.rand(STEPS, 2)
    noisy = torch.randn(2, CONTRACT.chunk_length, CONTRACT.action_dim)
    for level, modulation in zip(levels, head.modulation_at(levels, condition), strict=True):
        separate = head.predict(noisy, level, condition)
        torch.testing.assert_close(head.predict(noisy, level, condition, modulation), separate)


def test_work_is_counted_for_each_section():
    layer, x = torch.nn.Linear(64, 32, bias=False), torch.randn(10, 64)
    counter = Counter()
    with torch.no_grad(), watch_sections(counter):
        for _ in range(2):
            with timed_section("product"):
                layer(layer.weight.new_ones(10, 64) + x).relu()
        layer(x)
    work = counter.work["product"]
    assert work.runs == 2 and work.flops == 2 * (2 * 10 * 64 * 32)
    assert work.size == 2 * 4 * (64 * 32 + 10 * 64)  # weight and x; tensors that are made inside do not count


@pytest.fixture
def machine(monkeypatch):
    peaks = Machine(flops=1e9, bandwidth=1e9)
    monkeypatch.setattr(profiling, "measure", lambda *_: peaks)
    return peaks


def test_a_profile_has_all_sections_and_their_work(vlm, machine):
    for policy in (pointing(), vlm):
        rows, found = profiling.profile(policy, chunks=3)
        sections = {row.section: row for row in rows}
        assert {"copy", "vision", "language", "head: condition", "head: denoising", "rest"} < set(sections)
        assert list(sections)[-1] == "chunk" and found is machine
        assert (
            sections["head: denoising"].runs == STEPS
            and sections["vision"].mflop > 0
            and sections["language"].mflop > 0
        )
        inner = [row for row in rows if row.section not in ("chunk", "instruction")]
        assert sum(row.mflop for row in inner) == pytest.approx(sections["chunk"].mflop)
        weights = sum(p.numel() for b in policy.head.blocks for p in (b.qkv.weight, b.mlp[0].weight)) * 4 / 2**20
        assert sections["head: denoising"].mib > STEPS * weights  # they are read again at each step
        row = sections["head: denoising"]
        assert row.min_ms == pytest.approx(max(row.mflop, row.mib * 2**20 / 1e6))
        with pytest.raises(Exception, match="instruction"):
            policy.act(observation())


def test_a_machines_peaks_are_measured():
    found = measure(copy_size=2**18)
    assert 1e8 < found.flops < 1e14 and 1e8 < found.bandwidth < 1e13
    assert found.seconds(2 * found.flops, found.bandwidth) == 2


def test_a_compiled_policy_acts_as_before_also_in_copies(monkeypatch, vlm):
    """Traced as for any backend, and run by PyTorch; `policy-nano-latency` measures the compiled code."""
    real, calls = torch.compile, []

    def traced(function, mode):
        calls.append(function.__name__)
        return real(function, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    policy = pointing()
    plain = [chunk(policy, text) for text in INSTRUCTIONS]
    accelerate(policy, compiled=True)
    assert policy.compiled and calls == ["point", "reason", "serving_condition", "modulation_at", "serve"]
    for text, expected in zip(INSTRUCTIONS, plain, strict=True):
        np.testing.assert_allclose(chunk(policy, text), expected, atol=1e-5)
    own = share_weights(policy)
    np.testing.assert_allclose(chunk(own), plain[1], atol=1e-5)


@pytest.mark.parametrize("family", ["", "smolvlm", "paligemma", "qwen3_vl", "gemma3"])
def test_in_openvino_a_policy_acts_as_before_also_in_copies_and_for_any_instruction(family, tmp_path):
    torch.manual_seed(0)
    policy = fitted(open_vlm(save_small_vlm(family, tmp_path), VLMOptions(layer=1))) if family else pointing()
    plain = [chunk(policy, text) for text in INSTRUCTIONS]
    accelerate(policy, openvino=True)
    own = share_weights(policy)
    for acting in (policy, own):
        for text, expected in zip(INSTRUCTIONS, plain, strict=True):
            np.testing.assert_allclose(chunk(acting, text), expected, atol=1e-5)
    kept = chunk(policy, INSTRUCTIONS[0])
    chunk(own, INSTRUCTIONS[2])  # a copy has its own buffers
    np.testing.assert_array_equal(chunk(policy, INSTRUCTIONS[0]), kept)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_low_precision_products_in_openvino_are_nearly_the_same_and_say_so(kind, vlm):
    for policy in (pointing(), copy.deepcopy(vlm)):
        expected = chunk(policy)
        try:
            accelerate(policy, openvino=True, quantise=kind)
        except OptionError as error:
            pytest.skip(str(error))  # this processor has none
        assert policy.quantised == kind
        found = chunk(policy)
        assert not np.array_equal(found, expected)
        assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()


def test_bf16_products_are_refused_where_there_are_none(monkeypatch):
    import openvino

    with pytest.raises(OptionError, match="add --openvino"):
        accelerate(pointing(), quantise="bf16")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(OptionError, match="bf16 instructions"):
        accelerate(pointing(), openvino=True, quantise="bf16")


def test_policies_that_openvino_cannot_run_are_refused(monkeypatch):
    policy = pointing()
    policy.compiled = True
    with pytest.raises(OptionError, match="choose one"):
        accelerate(policy, openvino=True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(OptionError, match="pip install"):
        accelerate(pointing(), openvino=True)


def test_where_nothing_compiles_the_policy_stays_unchanged(monkeypatch):
    def no_compiler(function, mode):
        def fails(*_):
            raise RuntimeError("no working C++ compiler")

        return fails

    monkeypatch.setattr(torch, "compile", no_compiler)
    policy = pointing()
    expected = chunk(policy)
    with pytest.warns(UserWarning, match="no working C"):
        accelerate(policy, compiled=True)
    assert not policy.compiled
    np.testing.assert_array_equal(chunk(policy), expected)


def test_int8_weights_are_smaller_and_nearly_the_same(vlm):
    pytest.importorskip("torchao")
    policy = pointing()
    expected = chunk(policy)
    accelerate(policy, quantise="int8")
    assert policy.quantised == "int8"
    weight = policy.head.blocks[0].qkv.weight
    inner = [getattr(weight, name) for name in weight.__tensor_flatten__()[0]]
    assert any(t.dtype == torch.int8 for t in inner)
    found = chunk(policy)
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    np.testing.assert_array_equal(chunk(share_weights(policy)), found)


def test_unsupported_quantisation_is_refused():
    with pytest.raises(OptionError, match="4-bit weights need a GPU"):
        accelerate(pointing(), quantise="int4")
    with pytest.raises(OptionError, match="no such quantisation"):
        accelerate(pointing(), quantise="int7")
    with pytest.raises(OptionError, match="not computed on this machine"):
        accelerate(object(), quantise="int8")
    with pytest.raises(OptionError, match="invalid value"):
        Execution(quantise="int7")


def test_a_report_names_the_accelerations():
    chosen = Execution(compiled=True, quantise="int8", openvino=True).settings()
    assert chosen == {"compiled": True, "weights": "int8", "openvino": True}
    assert Execution().settings() == {}
    assert Execution.identity({}) != Execution.identity(chosen) == Execution.identity(dict(chosen))


def test_a_served_policy_with_other_weights_is_not_the_certified_one(tmp_path, monkeypatch):
    pytest.importorskip("torchao")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    from vla_agent.cli.deploy.serve import _load

    pointing().save(tmp_path / "p")
    options = {"threads": 1, "compiled": False, "openvino": False}
    name, files = _load(str(tmp_path / "p"), Namespace(**options, quantise=""))[1:3]
    other_name, other = _load(str(tmp_path / "p"), Namespace(**options, quantise="int8"))[1:3]
    assert files.items() < other.items() and "int8" in other_name and "int8" not in name


def test_the_command_prints_a_table(tmp_path, capsys, monkeypatch):
    pointing().save(tmp_path / "p")
    monkeypatch.setattr(profiling, "measure", lambda *_: Machine(1e9, 1e9))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    assert main(["profile", str(tmp_path / "p"), "--chunks", "2"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("vision", "language", "head: denoising", "of the limit", "GFLOP/s"))
    assert main(["profile", str(tmp_path / "p"), "--chunks", "0"]) == 2
    assert main(["profile", str(tmp_path / "p"), "--device", "tpu"]) == 2


def test_a_blank_observation_fits_the_contract():
    observation = blank_observation(CONTRACT)
    CONTRACT.check_observation(observation)
    assert set(observation["images"]) == set(CONTRACT.camera_names) and observation["state"].sum() == 2


def test_load_policy_takes_the_options(tmp_path):
    pytest.importorskip("torchao")
    pointing().save(tmp_path / "p")
    assert load_policy(tmp_path / "p", quantise="int8").quantised == "int8"
