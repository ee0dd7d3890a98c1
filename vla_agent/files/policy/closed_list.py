r"""The closed list of the files of a policy, an adapter and a pretrained model: what a loader reads, and records.

======================  =================================================================================
file                    whose
======================  =================================================================================
policy.json             contract, settings of the head, SHA-256 of the weight files
head.safetensors        the head and the normalisers' statistics
sight.safetensors       what finds the objects that an instruction names, where the policy can doubt
reader/                 a text encoder with heads and tokenizer, where the policy reads instructions in other words
backbone/               a model of transformers with its tokenizer and image processor: `MODEL`
backbone/vlm.json       how a pretrained model is used
backbone/fused/         a second vision encoder: `MODEL`, and ``projection.safetensors``
adapter.json            an adapter's description, with its base
adapter.safetensors     its weights
of LeRobot              its JSON and safetensors files at the top of the folder
export.json             an exported policy: contract, settings, parity, SHA-256 of its other files
NAME.onnx, NAME.xml     its graphs in ONNX or OpenVINO IR (with NAME.bin), of `GRAPHS`
run.py, parts/          its runner: bound, and never executed by a loader (``__pycache__`` there is left alone)
records                 README.md, LICENSE, training.json, recipe*.yaml, curve*.png, the stages' logs, certificate.json,
                        and the folder ``evaluation``: no loader ever reads them, no certificate binds them
======================  =================================================================================

Weights are ``model.safetensors``, or shards with their index.  Anything else in such a folder is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_agent.errors import CheckpointError
from vla_agent.files.bounded_reading import json_depth
from vla_agent.files.input_limits import DEPTH

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)
MODEL = (
    "config.json",
    "generation_config.json",
    WHOLE,
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "normalizer.json",
)
ADAPTER_FORMAT = 2  # of adapter.json; 1 named its base by policy.json alone
OPTIONS = "vlm.json"
PROJECTION = "projection.safetensors"
READER = ("config.json", "tokenizer.json", WHOLE)
MANIFEST = "export.json"
GRAPHS = ("policy", "text", "plane", "reader")
MODULE = re.compile(r"[a-z][a-z0-9_]*\.py", re.ASCII)
STAGES = ("name_stem", "pretrain", "head", "sight", "reader", "end_to_end", "tune")
RECORDS = re.compile(
    r"README\.md|LICENSE|\.gitattributes|training\.json|certificate\.json|recipe(-\d+)?\.yaml|curve(-\d+)?\.png"
    rf"|({'|'.join(STAGES)})\.jsonl",
    re.ASCII,
)
RECORD_FOLDERS = frozenset({"evaluation"})


@dataclass(frozen=True)
class FileList:
    """The files of one kind of folder.

    Attributes:
        kind: what the folder holds, for errors.
        folders: folder (``""``: the top) -> names in it that the loader may read, shards of weights aside.
        models: folders that may hold shards.
        records: names at the top that nothing reads.  record_folders: folders that nothing enters.
        others: whether other files may lie there; they are left alone.
        code: folders of Python modules, which are bound and never executed.
        top: further names at the top that the loader may read.
    """

    kind: str
    folders: Mapping[str, Collection[str]]
    models: Collection[str]
    records: re.Pattern[str] = RECORDS
    record_folders: Collection[str] = RECORD_FOLDERS
    others: bool = False
    top: re.Pattern[str] | None = None
    code: Collection[str] = ()

    def is_loaded(self, folder: str, name: str) -> bool:
        """Whether a loader reads the file of this name in this folder of the list."""
        named = name in self.folders[folder] or (folder in self.models and bool(SHARD.fullmatch(name)))
        module = folder in self.code and bool(MODULE.fullmatch(name))
        return named or module or bool(self.top and not folder and self.top.fullmatch(name))

    def is_record(self, folder: str, name: str) -> bool:
        """Whether it is a record."""
        return not folder and bool(self.records.fullmatch(name))


POLICY = FileList(
    "policy",
    {
        "": ("policy.json", "head.safetensors", "sight.safetensors"),
        "backbone": (*MODEL, OPTIONS),
        "backbone/fused": (*MODEL, PROJECTION),
        "reader": READER,
    },
    ("backbone", "backbone/fused"),
)
ADAPTER = FileList("adapter", {"": ("adapter.json", "adapter.safetensors")}, ())
PRETRAINED = FileList("pretrained model", {"": MODEL}, ("",), record_folders=(), others=True)
EXPORTED = FileList(
    "exported policy",
    {
        "": (
            MANIFEST,
            "run.py",
            "tokenizer.json",
            "reader_tokenizer.json",
            "instructions.json",
            *(f"{graph}.{end}" for graph in GRAPHS for end in ("onnx", "xml", "bin")),
        ),
        "parts": (),
    },
    (),
    record_folders=RECORD_FOLDERS | {"__pycache__", "parts/__pycache__"},  # left where the runner has run
    code=("parts",),
)
LEROBOT = FileList(
    "LeRobot policy",
    {"": ()},
    (),
    record_folders=(),
    others=True,
    top=re.compile(r"[\w.-]+\.(json|safetensors)", re.ASCII),
)


def require_shards(names: Collection[str], models: Collection[str], read: Callable[[str], bytes], where: Path) -> None:
    """Check the weights of each model folder: one file, or an index and exactly the shards that it names.

    Args:
        names: all names that are read, below the folder.
        models: the folders that may hold shards.
        read: the bytes of a name.
        where: the folder, for errors.

    Raises:
        CheckpointError: an index names another file, or shards and index do not fit together.
    """
    for model in models:
        prefix = f"{model}/" if model else ""
        here = {name.removeprefix(prefix) for name in names if name.rpartition("/")[0] == model}
        shards = {name for name in here if SHARD.fullmatch(name)}
        file = where / prefix / INDEX
        if INDEX not in here:
            if shards:
                raise _refused("shards of weights without their index", file, INDEX, sorted(shards)[0])
            continue
        if WHOLE in here:
            raise _refused("weights in one file and an index of shards", file, f"{WHOLE} or {INDEX}", "both")
        named = _named_shards(read(prefix + INDEX), file)
        if odd := sorted(name for name in named if not SHARD.fullmatch(name)):
            raise _refused("the index names a file that is no shard beside it", file, SHARD.pattern, odd[0])
        if differing := sorted(named ^ shards):
            expected, found = f"the shards that lie beside it: {len(shards)}", f"{differing[0]} on one side only"
            raise _refused("the index names other shards than there are", file, expected, found)


def _named_shards(data: bytes, file: Path) -> set[str]:
    try:
        if json_depth(data) > DEPTH:
            raise ValueError("nested too deeply")
        found: Any = json.loads(data.decode())["weight_map"]
        if isinstance(found, dict) and found and all(isinstance(name, str) for name in found.values()):
            return set(found.values())
        problem = "weight_map is not a mapping to names"
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise _refused("the index of shards cannot be read", file, "JSON with weight_map: tensor -> shard", problem)


def _refused(what: str, file: Path, expected: object, found: object) -> CheckpointError:
    return CheckpointError(
        what, file=file, key="weight_map", expected=expected, found=found, remedy="get the checkpoint again"
    )
