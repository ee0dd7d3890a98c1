"""Finding a policy's folder.  Imports no torch, so that commands that only need the path stay fast."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from vla_agent.errors import CheckpointError
from vla_agent.files.shipped import FOLDERS, find_shipped, shipped_folders
from vla_agent.files.write_aside import recover


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the Hugging Face hub, ``owner/name``, and not a path here or a shipped one."""
    owner, _, rest = name.partition("/")
    plain = rest and "/" not in rest and not name.startswith((".", "/"))
    return bool(plain) and owner not in FOLDERS and not Path(owner).is_dir()


def find_folder(path: str | PathLike[str]) -> Path:
    """The policy's folder on this machine; a hub id is downloaded.

    Raises:
        CheckpointError: there is none.
    """
    for written in (Path(path), Path(path) / "policy"):
        if written.name:
            recover(written)
    folder = find_shipped(path)
    if folder.is_dir():
        trained = folder / "policy"  # the folder of a training run holds its policy
        return trained if (trained / "policy.json").is_file() and not (folder / "policy.json").exists() else folder
    text = str(path)
    if is_hub_id(text):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(text, allow_patterns=["*.json", "*.safetensors", "*.yaml"]))
        except Exception as error:
            raise CheckpointError(
                "the policy is neither a folder nor a hub id that can be downloaded",
                file=text,
                expected="a folder with policy.json, a hub id (owner/name), expert, or random",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                remedy="check the name, the connection and your access; or download it and give the folder",
            ) from error
    near = sorted(
        {f"policies/{p.parent.name}" for f in (Path(), *shipped_folders()) for p in f.glob("policies/*/policy.json")}
    )
    raise CheckpointError(
        "there is no such policy folder",
        file=folder,
        expected="a folder with policy.json, a hub id (owner/name), expert, or random",
        found="nothing there",
        remedy="policies here: " + (", ".join(near) or "none"),
    )
