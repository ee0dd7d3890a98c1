"""Finding a policy's folder.  Imports no torch, so that commands that only need the path stay fast."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from vla_agent.errors import CheckpointError
from vla_agent.files.policy.closed_list import ADAPTER, MODEL, OPTIONS, POLICY, PROJECTION, READER
from vla_agent.files.shipped import find_shipped, shipped_folders
from vla_agent.files.write_aside import recover

HUB = "hf://"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB_ID = re.compile(rf"hf://({_PART}/{_PART})", re.ASCII)
_EXPECTED = f"a folder with policy.json, {HUB}OWNER/NAME of the hub; eval also takes expert and random"
_MODEL = [*MODEL, "model-?????-of-?????.safetensors"]
_DOWNLOADED = {
    "policy": [
        *POLICY.folders[""],
        *ADAPTER.folders[""],
        *(f"backbone/{name}" for name in [*_MODEL, OPTIONS]),
        *(f"backbone/fused/{name}" for name in [*_MODEL, PROJECTION]),
        *(f"reader/{name}" for name in READER),
    ],
    "model": _MODEL,
}


def is_hub_id(name: str) -> bool:
    """Whether a name is one of the Hugging Face hub, ``hf://OWNER/NAME``.  No other name is ever looked up there."""
    return name.startswith(HUB)


def find_folder(path: str | PathLike[str], download: bool = True) -> Path:
    """The policy's folder on this machine; ``hf://OWNER/NAME`` is downloaded.

    Args:
        download: False: from the hub's cache alone.

    Raises:
        CheckpointError: there is none.
    """
    if is_hub_id(str(path)):
        return hub_folder(str(path), "policy", download)
    for written in (Path(path), Path(path) / "policy"):
        if written.name:
            recover(written)
    folder = find_shipped(path)
    if folder.is_dir():
        trained = folder / "policy"  # the folder of a training run holds its policy
        is_run = (trained / "policy.json").is_file() and not trained.is_symlink()
        return trained if is_run and not (folder / "policy.json").exists() else folder
    near = sorted(
        {f"policies/{p.parent.name}" for f in (Path(), *shipped_folders()) for p in f.glob("policies/*/policy.json")}
    )
    raise CheckpointError(
        "there is no such policy folder",
        file=folder,
        expected=_EXPECTED,
        found="nothing there" if not folder.exists() else "a file",
        remedy="policies here: " + (", ".join(near) or "none") + hub_hint(str(path)),
    )


def hub_hint(name: str) -> str:
    """How to write a name that looks like one of the hub; empty for others."""
    return f"; of the Hugging Face hub: {HUB}{name}" if _HUB_ID.fullmatch(HUB + name) else ""


def hub_folder(name: str, kind: str, download: bool = True) -> Path:
    """The folder of a name of the hub in its cache, where only the files that a loader reads are downloaded.

    Args:
        name: ``hf://OWNER/NAME``.  kind: "policy" or "model".
        download: False: what is in the cache already.

    Raises:
        CheckpointError: it is no such name, or it cannot be downloaded.
    """
    known = _HUB_ID.fullmatch(name)
    try:
        if known is None:
            raise ValueError(f"not {HUB}OWNER/NAME")
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(known[1], allow_patterns=_DOWNLOADED[kind], local_files_only=not download))
    except Exception as error:
        raise CheckpointError(
            f"the {kind} cannot be downloaded",
            file=name,
            expected=_EXPECTED if kind == "policy" else f"a folder, or {HUB}OWNER/NAME",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            remedy="check the name, the connection and your access; or download it and give the folder",
        ) from error
