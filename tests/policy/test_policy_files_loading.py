"""Loading a policy: from the memory that was hashed, never by code, never from another place."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.code.good_folders import adapter, pretrained
from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.adapters.adapter_folder import adapted_from
from vla_agent.errors import CheckpointError
from vla_agent.evaluation.play.player import load_learned
from vla_agent.files.policy_files import read_policy_files
from vla_agent.gate.certificate.bound_files import policy_contract, policy_files, policy_parts
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
from vla_agent.models.backbones.pretrained.pretrained_files import load_vlm, open_vlm, save_vlm
from vla_agent.policy.checkpoint import policy_from
from vla_agent.policy.loading import load_policy
from vla_agent.policy.sources import contract_of, normalised_range


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Good(tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good, tmp_path):
    return good.copy("policy", tmp_path / "policy")


@pytest.fixture
def mark(tmp_path):
    """A file that planted code would write."""
    return tmp_path / "executed"


def edit(file: Path, **changes: object) -> None:
    data = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({k: v for k, v in (data | changes).items() if v is not None}))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in mine.items())


# ---- hashed is loaded


def test_weights_that_are_altered_right_after_hashing_are_not_loaded(folder, good):
    files = read_policy_files(folder)
    digest = files.digest
    for name in ("head.safetensors", "backbone/model.safetensors"):
        data = bytearray((folder / name).read_bytes())
        data[-8:] = b"\x7f" * 8
        (folder / name).write_bytes(data)
    edit(folder / "policy.json", execute=3)
    edit(folder / "backbone/tokenizer_config.json", padding_side="left")
    policy = policy_from(files)
    assert same(policy, load_policy(good.policy)) and policy.execute == load_policy(good.policy).execute
    assert policy.backbone.tokenizer.padding_side == "right"
    assert policy.digest == digest and policy.files == files.hashes


def test_a_loaded_policy_names_its_files_as_a_certificate_does(folder):
    policy = load_policy(folder)
    assert policy.files == policy_files(folder) == policy_parts(folder)["files"] and len(policy.files) == 7
    assert policy.digest == policy_parts(folder)["digest"] == policy_parts(read_policy_files(folder))["digest"]


def test_parts_and_contract_of_what_was_read_are_those_of_the_folder(folder):
    files = read_policy_files(folder)
    parts, contract = policy_parts(folder), policy_contract(folder)
    shutil.rmtree(folder)
    assert policy_parts(files) == parts and policy_contract(files) == contract
    assert parts["normaliser"] != "unreadable" and parts["adapter"] == []


def test_another_digest_than_the_expected_is_refused_before_anything_is_loaded(folder):
    digest = read_policy_files(folder).digest
    assert load_policy(folder, expected=digest).digest == digest
    assert load_learned(str(folder), digest).digest == digest
    edit(folder / "backbone/tokenizer_config.json", padding_side="left")
    for load in (lambda: load_policy(folder, expected=digest), lambda: load_learned(str(folder), digest)):
        with pytest.raises(CheckpointError, match="not the expected ones"):
            load()


def test_what_a_policy_says_of_its_weights_is_checked_and_is_not_its_identity(folder):
    before = load_policy(folder).digest
    claims = json.loads((folder / "policy.json").read_text())["sha256"]
    for wrong in ({**claims, "head.safetensors": "0" * 64}, {**claims, "other.safetensors": "0" * 64}, {}, None, []):
        (folder / "policy.json").write_text(json.dumps({**description(folder), "sha256": wrong}))
        with pytest.raises(CheckpointError, match="missing or damaged"):
            load_policy(folder)
    edit(folder / "policy.json", sha256=claims, note="the same claims")
    assert load_policy(folder).digest != before


def description(folder: Path) -> dict[str, object]:
    return json.loads((folder / "policy.json").read_text())


@pytest.mark.parametrize("execute", [0, -1, 1.5, True, "8", None])
def test_steps_to_execute_that_are_no_number_of_steps_are_refused(folder, execute):
    (folder / "policy.json").write_text(json.dumps({**description(folder), "execute": execute}))
    with pytest.raises(CheckpointError, match="execute"):
        load_policy(folder)


def test_one_step_to_execute_is_the_least(folder):
    edit(folder / "policy.json", execute=1)
    assert load_policy(folder).execute == 1


@pytest.mark.parametrize("data", [b"[]", b"7", b'"text"', b"null", b"{}"])
def test_a_description_that_is_none_is_refused(folder, data):
    (folder / "policy.json").write_bytes(data)
    with pytest.raises(CheckpointError, match="description"):
        load_policy(folder)


def test_contract_and_range_come_from_files_of_the_list_alone(folder, good):
    assert contract_of(str(folder)) == good.contract
    assert (normalised_range(str(folder), "action")["high"] > normalised_range(str(folder), "action")["low"]).all()
    (folder / "planted.py").write_text("")
    for read in (lambda: contract_of(str(folder)), lambda: normalised_range(str(folder), "action")):
        with pytest.raises(CheckpointError, match="does not belong"):
            read()


def test_an_adapter_and_its_base_are_loaded_from_what_was_hashed(good, tmp_path):
    base = good.copy("policy", tmp_path / "policy")
    place = Path(shutil.copytree(adapter(good), tmp_path / "adapter"))
    files = read_policy_files(place, base)
    for damaged in (place / "adapter.safetensors", base / "head.safetensors", base / "backbone/model.safetensors"):
        damaged.write_bytes(b"evil")
    policy = adapted_from(files)
    assert same(policy, load_policy(adapter(good)))
    assert policy.files == files.hashes and "base/head.safetensors" in policy.files and "adapter.json" in policy.files
    assert policy.digest == files.digest != files.policy.digest


def test_an_adapters_base_with_another_tokenizer_is_refused(good, tmp_path):
    place = Path(shutil.copytree(adapter(good), tmp_path / "adapter"))
    base = good.copy("policy", tmp_path / "policy")
    described = json.loads((place / "adapter.json").read_text())["base"]
    edit(place / "adapter.json", base=described | {"name": "nowhere", "beside": "../policy"})
    assert load_policy(place).files
    edit(base / "backbone/tokenizer_config.json", padding_side="left")
    with pytest.raises(CheckpointError, match="different policy"):
        load_policy(place)


def test_a_save_leaves_no_file_of_another_backbone(good, folder):
    (folder / "backbone/vlm.json").write_text("{}")
    load_policy(good.policy).save(folder)
    assert not (folder / "backbone/vlm.json").exists() and load_policy(folder).files


# ---- nothing is executed


AUTO = {"AutoConfig": "planted.Planted", "AutoModelForImageTextToText": "planted.Planted"}
CONFIG, TOKENIZER, PICTURES = "config.json", "tokenizer_config.json", "preprocessor_config.json"
PLANTED = [
    (CONFIG, {"auto_map": AUTO}, "auto_map"),
    (CONFIG, {"text_config": {"auto_map": AUTO}}, "text_config.auto_map"),
    (CONFIG, {"parts": [{"auto_map": AUTO}]}, "parts.auto_map"),
    (CONFIG, {"model_type": "planted"}, "model_type"),
    (CONFIG, {"model_type": None}, "model_type"),
    (CONFIG, {"model_type": ["pointing_vlm"]}, "model_type"),
    (CONFIG, {"model_type": "smolvlm"}, "model_type"),
    (CONFIG, {"vision_config": {"model_type": "planted"}}, "vision_config.model_type"),
    (CONFIG, {"trust_remote_code": True}, "trust_remote_code"),
    (CONFIG, {"custom_pipelines": {}}, "custom_pipelines"),
    (CONFIG, {"attn_implementation": "owner/kernel"}, "attn_implementation"),
    (CONFIG, {"_attn_implementation_internal": "owner/kernel"}, "_attn_implementation_internal"),
    (CONFIG, {"experts_implementation": "owner/kernel"}, "experts_implementation"),
    (CONFIG, {"quantization_config": {}}, "quantization_config"),
    (CONFIG, {"use_pretrained_backbone": True}, "use_pretrained_backbone"),
    (CONFIG, {"transformers_weights": "x.safetensors"}, "transformers_weights"),
    (CONFIG, {"encoder": "owner/name"}, "encoder"),
    (CONFIG, {"encoder": "C:\\name"}, "encoder"),
    (CONFIG, {"dtype": "load"}, "dtype"),
    (TOKENIZER, {"auto_map": ["planted.Planted", None]}, "auto_map"),
    (TOKENIZER, {"auto_map": {"AutoTokenizer": ["planted.Planted", None]}}, "auto_map"),
    (TOKENIZER, {"tokenizer_class": "PlantedTokenizer"}, "tokenizer_class"),
    (TOKENIZER, {"backend": "custom"}, "backend"),
    (TOKENIZER, {"vocab_file": "/etc/passwd"}, "vocab_file"),
    (TOKENIZER, {"tokenizer_file": "tokenizer.json"}, "tokenizer_file"),
    (TOKENIZER, {"fast_tokenizer_files": ["tokenizer.json"]}, "fast_tokenizer_files"),
    (TOKENIZER, {"cache_path": "x"}, "cache_path"),
    (TOKENIZER, {"init_inputs": ["x"]}, "init_inputs"),
    (PICTURES, {"auto_map": {"AutoImageProcessor": "planted.Planted"}}, "auto_map"),
    (PICTURES, {"image_processor_type": "Planted"}, "image_processor_type"),
    (PICTURES, {"feature_extractor_type": "Planted"}, "feature_extractor_type"),
    (PICTURES, {"image_mean": ["../mean"]}, "image_mean"),
    ("processor_config.json", {"auto_map": {"AutoProcessor": "planted.Planted"}}, "auto_map"),
    ("processor_config.json", {"image_processor": {"image_processor_type": "Planted"}}, "image_processor_type"),
    ("generation_config.json", {"custom_generate": "x"}, "custom_generate"),
    ("special_tokens_map.json", {"auto_map": AUTO}, "auto_map"),
    ("added_tokens.json", {"auto_map": AUTO}, "auto_map"),
]


@pytest.mark.parametrize(
    ("file", "changes", "key"), PLANTED, ids=[f"{f}-{k}-{i}" for i, (f, _, k) in enumerate(PLANTED)]
)
def test_a_configuration_that_names_code_or_a_file_is_refused_before_transformers_reads_it(
    folder, file, changes, key, monkeypatch
):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    monkeypatch.setattr(
        "transformers.AutoConfig.from_pretrained", lambda *_, **__: pytest.fail("transformers reads it")
    )
    edit(folder / "backbone" / file, **changes)
    with pytest.raises(CheckpointError, match="not plain data") as caught:
        load_policy(folder)
    assert caught.value.key == key and caught.value.file == str(folder / "backbone" / file)


def test_keys_that_only_tell_where_a_model_came_from_are_taken(folder):
    edit(folder / "backbone/config.json", _name_or_path="owner/name", model_name=None, torch_dtype="bfloat16")
    edit(
        folder / "backbone/tokenizer_config.json", name_or_path="/some/where", tokenizer_class="PreTrainedTokenizerFast"
    )
    edit(folder / "backbone/preprocessor_config.json", image_processor_type="ViTImageProcessorFast")
    assert load_policy(folder).files


def test_a_module_in_the_folder_is_refused_and_never_runs(folder, mark):
    (folder / "backbone/planted.py").write_text(f"open({str(mark)!r}, 'w')")
    edit(folder / "backbone/config.json", auto_map=AUTO, model_type="planted")
    with pytest.raises(CheckpointError, match="does not belong"):
        load_policy(folder)
    (folder / "backbone/planted.py").unlink()
    with pytest.raises(CheckpointError, match="auto_map"):
        load_policy(folder)
    assert not mark.exists() and "planted" not in sys.modules


class Marked:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["head.safetensors", "backbone/model.safetensors"])
def test_a_pickle_in_place_of_weights_is_refused_and_never_loaded(folder, mark, name):
    data = pickle.dumps(Marked(mark))
    (folder / name).write_bytes(data)
    files = read_policy_files(folder)
    edit(folder / "policy.json", sha256=description(folder)["sha256"] | {name: files.own[name]})
    with pytest.raises(CheckpointError):
        load_policy(folder)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists(), "the pickle would have left its mark"


def test_a_chat_template_is_not_rendered(folder, mark):
    code = f"{{{{ cycler.__init__.__globals__.os.popen('touch {mark}').read() }}}}"
    (folder / "backbone/chat_template.jinja").write_text(code)
    load_policy(folder).reset("press the red button")
    assert not mark.exists()


# ---- pretrained models


@pytest.fixture
def model(good, tmp_path):
    return Path(shutil.copytree(pretrained(good), tmp_path / "model"))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (CONFIG, {"auto_map": AUTO}),
        (CONFIG, {"model_type": "planted"}),
        (CONFIG, {"model_type": "timm_wrapper"}),
        (CONFIG, {"model_type": "pointing_vlm"}),
        (TOKENIZER, {"auto_map": ["planted.Planted", None]}),
        (PICTURES, {"image_processor_type": "Planted"}),
    ],
)
def test_a_pretrained_model_that_names_code_is_refused(model, file, changes):
    edit(model / file, **changes)
    with pytest.raises(CheckpointError, match="not plain data"):
        open_vlm(model, VLMOptions())


def test_a_fused_encoder_that_names_code_is_refused(model, tmp_path):
    encoder = Path(shutil.copytree(model, tmp_path / "encoder"))
    edit(encoder / CONFIG, auto_map=AUTO)
    with pytest.raises(CheckpointError, match="encoder"):
        open_vlm(model, VLMOptions(fused=str(encoder)))


def test_a_saved_pretrained_backbone_is_checked_like_its_source(model, tmp_path):
    save_vlm(open_vlm(model, VLMOptions(layer=1)), tmp_path / "saved/backbone")
    assert load_vlm(read_policy_files(tmp_path / "saved"))
    for file, changes in ((CONFIG, {"auto_map": AUTO}), ("vlm.json", {"dtype": "load"})):
        before = (tmp_path / "saved/backbone" / file).read_text()
        edit(tmp_path / "saved/backbone" / file, **changes)
        with pytest.raises(CheckpointError):
            load_vlm(read_policy_files(tmp_path / "saved"))
        (tmp_path / "saved/backbone" / file).write_text(before)


@pytest.mark.parametrize("name", ["owner/name", "./owner/name", "owner/name/", "OWNER/name"])
def test_a_name_without_the_prefix_is_never_a_pretrained_model_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a connection"))
    with pytest.raises(CheckpointError, match="no such pretrained model"):
        open_vlm(name, VLMOptions())
