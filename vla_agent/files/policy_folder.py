"""Where a policy's folder lies.  Imports no torch, so that commands that only need the path stay fast."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from vla_agent.errors import CheckpointError


def find_folder(path: str | PathLike[str]) -> Path:
    """The policy's folder on this machine; a hub id is fetched.

    Raises:
        CheckpointError: there is none.
    """
    folder = Path(path)
    if folder.is_dir():
        trained = folder / "policy"  # a training's folder holds its policy
        return trained if (trained / "policy.json").is_file() and not (folder / "policy.json").exists() else folder
    text = str(path)
    if text.count("/") == 1 and not text.startswith((".", "/")) and not Path(text.split("/")[0]).is_dir():
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(text, allow_patterns=["*.json", "*.safetensors", "*.yaml"]))
        except Exception as error:
            raise CheckpointError(
                "the policy is neither a folder here nor could it be fetched from the hub",
                file=text,
                expected="a folder with policy.json, a hub id (owner/name), expert, or random",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                remedy="check the name, the connection and your access, or download it and give the folder",
            ) from error
    near = sorted(p.parent.as_posix() for p in Path("policies").glob("*/policy.json"))
    raise CheckpointError(
        "there is no such policy folder",
        file=folder,
        expected="a folder with policy.json, a hub id (owner/name), expert, or random",
        found="nothing there",
        remedy="policies here: " + (", ".join(near) or "none"),
    )
