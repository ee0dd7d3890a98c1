"""What a model's configuration may say: transformers sees it only where it names no code and no other file.

Some keys of these files make transformers import a module, download a kernel, or open a path that the file gives.
With these checks, weights as safetensors and ``trust_remote_code=False``, loading a model executes nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from vla_agent.errors import CheckpointError
from vla_agent.files.policy_files import PolicyFiles, read_pretrained_files
from vla_agent.files.policy_folder import hub_folder, hub_hint, is_hub_id

CONFIGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
)
PATHLESS = ("config.json", "preprocessor_config.json")  # files in which no value is a path
CODE_KEYS = frozenset(  # the name of a module, a kernel, a package or a repository
    {
        "auto_map",
        "trust_remote_code",
        "code_revision",
        "custom_pipelines",
        "custom_generate",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "use_kernels",
        "kernel_config",
        "quantization_config",
        "use_pretrained_backbone",
        "use_timm_backbone",
        "transformers_weights",
        "gguf_file",
        "init_inputs",
    }
)
NAMES = ("_name_or_path", "name_or_path")  # where a model came from: nothing is loaded from there
OTHER_LIBRARIES = ("timm_backbone", "timm_wrapper")  # model types whose code is another library's
TOKENIZERS = frozenset(  # of the families, and of other models with tokenizer.json
    {
        "TokenizersBackend",
        "PreTrainedTokenizer",
        "GPT2Tokenizer",
        "Qwen2Tokenizer",
        "GemmaTokenizer",
        "LlamaTokenizer",
        "CohereTokenizer",
        "BloomTokenizer",
        "CodeGenTokenizer",
        "GPTNeoXTokenizer",
        "T5Tokenizer",
        "BertTokenizer",
        "CLIPTokenizer",
        "WhisperTokenizer",
        "Wav2Vec2CTCTokenizer",
    }
)
BACKENDS = ("tokenizers", "sentencepiece")
DTYPES = ("float32", "float16", "bfloat16", "auto")
MODEL_TYPES = frozenset(CONFIG_MAPPING_NAMES) - set(OTHER_LIBRARIES)


def read_plain_model(source: str | PathLike[str]) -> PolicyFiles:
    """What was read of a pretrained model, every configuration of which is plain data.

    Args:
        source: a folder, or ``hf://OWNER/NAME`` of the Hugging Face hub.

    Raises:
        CheckpointError: there is none, it cannot be read, or it names code.
    """
    name = str(source)
    folder = hub_folder(name, "model") if is_hub_id(name) else Path(source)
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such pretrained model",
            file=name,
            key="vlm.model",
            expected="a folder with config.json, safetensors, tokenizer and preprocessor_config.json",
            found="no such folder",
            remedy=f"check the path{hub_hint(name)}",
        )
    files = read_pretrained_files(folder)
    require_data(files)
    return files


def require_data(files: PolicyFiles, folder: str = "", model_types: Collection[str] = MODEL_TYPES) -> None:
    """Check every configuration of a model before a library reads it.

    Args:
        files: what was read.  folder: the model's, in it.
        model_types: those that may be loaded; the default is every one that transformers itself implements.

    Raises:
        CheckpointError: a key names code or a file, a class is not one of transformers' own, or it is not JSON.
    """
    prefix = f"{folder}/" if folder else ""
    for name in CONFIGS:
        if prefix + name in files:
            data, file = files.json(prefix + name), files.folder / prefix / name
            if not isinstance(data, dict):
                raise _refused(file, "the whole file", "a JSON object", type(data).__name__)
            _require_keys(data, file, name in PATHLESS)
            _require_classes(data, file)
            if name == "config.json":
                _require_model_type(data, file, model_types)


def _require_keys(data: dict[str, Any], file: Path, pathless: bool) -> None:
    for keys, value in _leaves(data):
        last = keys[-1]
        if last in CODE_KEYS or last.endswith(("_file", "_files")) or (last.endswith("_path") and last not in NAMES):
            raise _refused(file, ".".join(keys), "no key that names code or another file", value)
        odd = isinstance(value, str) and ("/" in value or "\\" in value) and "<" not in value
        if pathless and odd and last not in NAMES:
            raise _refused(file, ".".join(keys), "no path and no name of the hub", value)
        if last in ("dtype", "torch_dtype") and value is not None and value not in DTYPES:
            raise _refused(file, ".".join(keys), ", ".join(DTYPES), value)
        if last == "model_type" and keys != ("model_type",) and value not in MODEL_TYPES | {""}:
            raise _refused(file, ".".join(keys), "a type that transformers implements", value)


def _leaves(data: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key with its value, nested ones too, and the items of lists under their list's key."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*keys, key), value
            yield from _leaves(value, (*keys, key))
    elif isinstance(data, list):
        for value in data:
            if not isinstance(value, dict | list):
                yield keys, value
            yield from _leaves(value, keys)


def _require_classes(data: dict[str, Any], file: Path) -> None:
    tokenizer, backend = data.get("tokenizer_class"), data.get("backend")
    if tokenizer is not None and _plain(tokenizer, "Fast") not in TOKENIZERS:
        raise _refused(file, "tokenizer_class", ", ".join(sorted(TOKENIZERS)), tokenizer)
    if file.name == "tokenizer_config.json" and backend is not None and backend not in BACKENDS:
        raise _refused(file, "backend", ", ".join(BACKENDS), backend)
    known = _processors()
    for part in (data, data.get("image_processor"), data.get("feature_extractor")):
        for key in ("image_processor_type", "feature_extractor_type"):
            found = part.get(key) if isinstance(part, dict) else None
            name = _plain(found, "Fast", "Pil")
            if found is not None and not {name, name.replace("FeatureExtractor", "ImageProcessor")} & known:
                raise _refused(file, key, "a processor of transformers", found)


def _require_model_type(data: dict[str, Any], file: Path, model_types: Collection[str]) -> None:
    found = data.get("model_type")
    if not isinstance(found, str) or found not in model_types:
        few = ", ".join(sorted(model_types)) if len(model_types) < 20 else "a type that transformers implements"
        raise _refused(file, "model_type", few, found)


def _plain(name: Any, *endings: str) -> str:
    text = str(name)
    for ending in endings:
        text = text.removesuffix(ending)
    return text


@cache
def _processors() -> frozenset[str]:
    names = {_plain(name, "Fast") for name in FEATURE_EXTRACTOR_MAPPING_NAMES.values()}
    for found in IMAGE_PROCESSOR_MAPPING_NAMES.values():
        listed = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else [found]
        names |= {_plain(name, "Fast", "Pil") for name in listed if name}
    return frozenset(names)


def _refused(file: Path, key: str, expected: object, found: object) -> CheckpointError:
    return CheckpointError(
        "a model's configuration is not plain data",
        file=file,
        key=key,
        expected=expected,
        found=repr(found)[:200],
        remedy="use a model that transformers itself implements (of the hub often NAME-hf), saved with safetensors",
    )
