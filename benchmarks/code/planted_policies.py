"""Policy folders with code, in every file from which a library could take it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.code.case import Case, Spoil, edit, pickled
from benchmarks.code.watched_run import Action, Place
from benchmarks.inputs.badinput.good_inputs import TASK, Good

INSPECT = 2  # of the commands of `policy_actions`
EVAL = ["--tasks", TASK, "--episodes", "1", "--controls", "none", "--out", "out"]


def policy_actions(folder: Path, good: Good, turn: int) -> list[Action]:
    """Load it, hash it for a certificate, and one of the commands that read a policy."""

    def load() -> object:
        from vla_agent.policy.loading import load_policy

        return load_policy(folder)

    def certify() -> object:
        from vla_agent.gate.certificate.bound_files import policy_contract, policy_parts

        return policy_parts(folder), policy_contract(folder)

    name = str(folder)
    commands = [
        ["eval", name, *EVAL],
        ["profile", name, "--chunks", "1"],
        ["inspect", name],
        ["finetune", name, "--data", str(good.dataset), "-o", "tuned", "--set", "train.samples=1"],
        ["gate", name, "--suite", "gates/smoke.yaml", "--key", "lab", "-o", "gated"],
    ]
    return [load, certify, commands[turn % len(commands)]]


def cases() -> Iterator[Case]:
    """Every planted policy folder."""
    found = [
        *_code_of_transformers(),
        *_code_by_other_keys(),
        *_other_code(),
        *_files_in_keys(),
        *_pickles(),
        *_indices(),
    ]
    for turn, (name, spoil, harmless) in enumerate(found):
        # what loads is not played: that takes minutes
        yield Case("policy: code and paths", name, policy_planter(spoil, INSPECT if harmless else turn), harmless)


def policy_planter(spoil: Spoil, turn: int) -> Callable[[Place, Good], list[Action]]:
    """What plants a damaged copy of the policy, and reads it by the command of this ``turn``."""

    def plant(place: Place, good: Good) -> list[Action]:
        folder = good.copy("policy", place.folder / "policy")
        spoil(folder, place)
        return policy_actions(folder, good, turn)

    return plant


def module(folder: Path, place: Place, name: str) -> Path:
    file = folder / "backbone" / name
    file.write_text(f"{place.code}class Planted:\n    pass\n")
    return file


def _auto(file: str, code: str | None, value: object, **more: object) -> Spoil:
    """``auto_map`` in a file of the backbone, with the module beside it."""

    def spoil(folder: Path, place: Place) -> None:
        if code:
            module(folder, place, code)
        edit(folder / "backbone" / file, auto_map=value, **more)

    return spoil


def set_keys(file: str, **changes: object) -> Spoil:
    return lambda folder, place: edit(folder / file, **changes)


def _code_of_transformers() -> Iterator[tuple[str, Spoil, bool]]:
    model = {
        "AutoConfig": "planted.Planted",
        "AutoModelForImageTextToText": "planted.Planted",
        "AutoModel": "planted.Planted",
    }
    config, tokenizer, pictures = "config.json", "tokenizer_config.json", "preprocessor_config.json"
    yield "auto_map and an unknown model_type", _auto(config, "planted.py", model, model_type="planted"), False
    yield "auto_map with the known model_type", _auto(config, "planted.py", model), False
    yield "auto_map of a pretrained family", _auto(config, "planted.py", model, model_type="smolvlm"), False
    yield "auto_map without its module", _auto(config, None, model), False
    yield "auto_map to a repository", _auto(config, None, {k: f"owner/name--{v}" for k, v in model.items()}), False
    yield "auto_map, with vlm.json", lambda f, p: (
        _auto(config, "planted.py", model, model_type="planted")(f, p),
        edit(f / "backbone/vlm.json", layer=0, image_size=[], freeze=[], dtype="float32"),
    ), False  # fmt: skip
    yield "auto_map deep inside", set_keys("backbone/config.json", text_config={"auto_map": model}), False
    yield "auto_map of the tokenizer, as a list", _auto(tokenizer, "planted.py", ["planted.Planted", None]), False
    yield (
        "auto_map of the tokenizer",
        _auto(tokenizer, "planted.py", {"AutoTokenizer": ["planted.Planted", None]}),
        False,
    )
    yield (
        "auto_map of the image processor",
        _auto(pictures, "planted.py", {"AutoImageProcessor": "planted.Planted"}),
        False,
    )
    yield "auto_map of a feature extractor", _auto(
        pictures, "planted.py", {"AutoFeatureExtractor": "planted.Planted"}, image_processor_type=None
    ), False  # fmt: skip
    yield (
        "auto_map of a processor",
        _auto("processor_config.json", "planted.py", {"AutoProcessor": "planted.Planted"}),
        False,
    )


def _code_by_other_keys() -> Iterator[tuple[str, Spoil, bool]]:
    yield "custom_pipelines", lambda f, p: (
        module(f, p, "pipeline.py"),
        edit(f / "backbone/config.json", custom_pipelines={"x": {"impl": "pipeline.Planted"}}),
    ), False  # fmt: skip
    yield "trust_remote_code in the configuration", set_keys("backbone/config.json", trust_remote_code=True), False
    yield (
        "trust_remote_code of the tokenizer",
        set_keys("backbone/tokenizer_config.json", trust_remote_code=True),
        False,
    )
    yield "unknown model_type", set_keys("backbone/config.json", model_type="planted"), False
    yield "no model_type", set_keys("backbone/config.json", model_type=None), False
    yield (
        "model_type of another library",
        set_keys("backbone/config.json", model_type="timm_wrapper", architecture="resnet18"),
        False,
    )
    yield (
        "a kernel of the hub as attention",
        set_keys("backbone/config.json", attn_implementation="owner/kernel"),
        False,
    )
    yield "a kernel as attention, internal key", set_keys(
        "backbone/config.json", _attn_implementation_internal="owner/kernel:f"
    ), False  # fmt: skip
    yield "kernels of experts", set_keys("backbone/config.json", experts_implementation="owner/kernel"), False
    yield "a quantiser's package", set_keys("backbone/config.json", quantization_config={"quant_method": "awq"}), False
    yield (
        "a pretrained encoder of the hub",
        set_keys("backbone/config.json", backbone="owner/name", use_pretrained_backbone=True),
        False,
    )
    yield "tokenizer_class of its own", lambda f, p: (
        module(f, p, "tokenization_planted.py"),
        edit(f / "backbone/tokenizer_config.json", tokenizer_class="PlantedTokenizer"),
    ), False  # fmt: skip
    yield (
        "image_processor_type of its own",
        set_keys("backbone/preprocessor_config.json", image_processor_type="Planted"),
        False,
    )
    yield "code for generation", lambda f, p: (
        _write("backbone/custom_generate/generate.py")(f, p),
        edit(f / "backbone/generation_config.json", custom_generate="custom_generate"),
    ), False  # fmt: skip
    yield "the same key twice", _twice, False


def _twice(folder: Path, place: Place) -> None:
    file = folder / "backbone/config.json"
    module(folder, place, "planted.py")
    text = '{"auto_map": {"AutoConfig": "planted.Planted"}, "model_type": "planted", "auto_map": {}, '
    file.write_text(text + file.read_text().lstrip().removeprefix("{"))


def _write(name: str, text: str | None = None) -> Spoil:
    def spoil(folder: Path, place: Place) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(place.code if text is None else text.replace("COMMAND", place.shell))

    return spoil


def _other_code() -> Iterator[tuple[str, Spoil, bool]]:
    shell = "{{ cycler.__init__.__globals__.os.popen('COMMAND').read() }}"
    yaml = '!!python/object/apply:os.system ["COMMAND"]\n'
    for name in ("__init__.py", "conftest.py", "sitecustomize.py", "setup.py", "backbone/modeling.py", "planted.pth"):
        yield f"{name} beside the weights", _write(name), False
    yield "compiled code", _write("__pycache__/policy.cpython-311.pyc"), False
    yield "a shared object", _write("backbone/kernel.so", "\x7fELF"), False
    yield "a script", _write("run.sh", "#!/bin/sh\nCOMMAND\n"), False
    yield "a notebook", _write("policy.ipynb", "{}"), False
    yield "code in a chat template", _write("backbone/chat_template.jinja", shell), True
    yield "more chat templates", _write("backbone/additional_chat_templates/tool.jinja", shell), False
    yield "code in the recipe, a record", _write("recipe.yaml", yaml), True
    yield "code in the training's record", _write("training.json", yaml), True
    yield "code in the folder of reports", _write("evaluation/planted.py"), True
    yield "YAML in place of policy.json", _write("policy.json", yaml), False
    yield "code in the tokenizer's file", _write("backbone/tokenizer.json", shell), False


def _files_in_keys() -> Iterator[tuple[str, Spoil, bool]]:
    """Keys of configurations that name a file: one outside, valid or a secret."""

    def outside(file: str, key: str, bait: str, wrap: Callable[[str], object] = str) -> Spoil:
        def spoil(folder: Path, place: Place) -> None:
            source = folder / "backbone" / bait
            target = shutil.copyfile(source, place.outside / bait) if source.exists() else place.outside / "secret"
            edit(folder / "backbone" / file, **{key: wrap(str(target))})

        return spoil

    for key in (
        "vocab_file",
        "tokenizer_file",
        "merges_file",
        "special_tokens_map_file",
        "added_tokens_file",
        "chat_template_file",
    ):
        yield f"{key} in tokenizer_config.json", outside("tokenizer_config.json", key, "tokenizer.json"), False
    yield (
        "fast_tokenizer_files",
        outside("tokenizer_config.json", "fast_tokenizer_files", "tokenizer.json", lambda x: [x]),
        False,
    )
    yield (
        "init_inputs of the tokenizer",
        outside("tokenizer_config.json", "init_inputs", "tokenizer.json", lambda x: [x]),
        False,
    )
    yield "transformers_weights", outside("config.json", "transformers_weights", "model.safetensors"), False
    yield "transformers_weights, going up", _weights_above, False
    yield (
        "a path as an image processor's value",
        outside("preprocessor_config.json", "image_mean_from", "secret"),
        False,
    )
    yield "peft's adapter_config.json", outside("adapter_config.json", "base_model_name_or_path", "secret"), False
    yield "a fused encoder outside", outside("vlm.json", "fused", "secret"), False
    yield "where the model came from", outside("config.json", "_name_or_path", "secret"), True
    yield "a dtype that is a function", set_keys(
        "backbone/vlm.json", layer=0, image_size=[], freeze=[], dtype="load"
    ), False  # fmt: skip
    yield "a weight's name outside in policy.json", _claim_above, False


def _claim_above(folder: Path, place: Place) -> None:
    claims = json.loads((folder / "policy.json").read_text())["sha256"]
    edit(folder / "policy.json", sha256=claims | {"../../outside/secret": "0" * 64})


def _weights_above(folder: Path, place: Place) -> None:
    shutil.copyfile(folder / "backbone/model.safetensors", place.outside / "model.safetensors")
    edit(folder / "backbone/config.json", transformers_weights="../../../outside/model.safetensors")


def _pickles() -> Iterator[tuple[str, Spoil, bool]]:
    def beside(name: str, remove: str = "") -> Spoil:
        def spoil(folder: Path, place: Place) -> None:
            if remove:
                (folder / remove).unlink()
            (folder / name).write_bytes(pickled(place))

        return spoil

    yield "pytorch_model.bin in place of safetensors", beside(
        "backbone/pytorch_model.bin", "backbone/model.safetensors"
    ), False  # fmt: skip
    yield "pytorch_model.bin beside safetensors", beside("backbone/pytorch_model.bin"), False
    for name in ("head.pt", "policy.pkl", "head.bin", "optimizer.pth", "statistics.npy", "backbone/flax_model.msgpack"):
        yield f"a pickle as {name}", beside(name), False
    for name in ("head.safetensors", "backbone/model.safetensors", "backbone/tokenizer.model", "backbone/spiece.model"):
        yield f"a pickle named {name}", beside(name), False
    yield "a pickle of the tokenizer, alone", beside("backbone/tokenizer.model", "backbone/tokenizer.json"), False


def _indices() -> Iterator[tuple[str, Spoil, bool]]:
    shard = "model-00001-of-00001.safetensors"

    def index(target: str, whole: bool = False, keep: bool = True) -> Spoil:
        def spoil(folder: Path, place: Place) -> None:
            weights = folder / "backbone/model.safetensors"
            shutil.copyfile(weights, place.outside / "model.safetensors")
            if keep:
                shutil.copyfile(weights, folder / "backbone" / shard)
            if not whole:
                weights.unlink()
            value = {"weight_map": {"a": target.replace("OUTSIDE", str(place.outside))}}
            (folder / "backbone/model.safetensors.index.json").write_text(json.dumps(value))

        return spoil

    yield "an index to a file above", index("../../../outside/model.safetensors"), False
    yield "an index to an absolute path", index("OUTSIDE/model.safetensors"), False
    yield "an index to a file above, without a shard", index("../../../outside/model.safetensors", keep=False), False
    yield "an index to a shard below", index("deep/" + shard), False
    yield "an index to a pickle", index("pytorch_model.bin"), False
    yield "an index to the head", index("../head.safetensors"), False
    yield "an index to a missing shard", index("model-00002-of-00002.safetensors"), False
    yield "an index beside the whole weights", index(shard, whole=True), False
    yield "shards without an index", lambda f, p: shutil.copyfile(
        f / "backbone/model.safetensors", f / "backbone" / shard
    ), False  # fmt: skip
    yield (
        "an index that is no mapping",
        lambda f, p: (f / "backbone/model.safetensors.index.json").write_text("[[" * 9000),
        False,
    )
