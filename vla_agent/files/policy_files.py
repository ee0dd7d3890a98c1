"""The files of a policy folder, each read once: what is hashed is what is loaded.

Only the files of a closed list are read (`vla_agent.files.policy.closed_list`); links, other files and anything that is
not a regular file are refused before any content is used.  Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.errors import CheckpointError, VlaAgentError
from vla_agent.files.bounded_reading import json_depth, too_deep
from vla_agent.files.canonical_json import digest
from vla_agent.files.input_limits import DEPTH
from vla_agent.files.policy.closed_list import (
    ADAPTER,
    ADAPTER_FORMAT,
    EXPORTED,
    LEROBOT,
    MANIFEST,
    POLICY,
    PRETRAINED,
    FileList,
    require_shards,
)
from vla_agent.files.policy.sealed_memory import SealedMemory, hash_open_file, seal
from vla_agent.files.policy_folder import find_folder

MOST_TEXT = 1 << 27  # bytes of a file that is no weights: the largest tokenizers have 40 MB
GRAPHS = (".onnx", ".bin")  # ends of files that hold weights of an exported policy
BASE = "base/"  # before the names of an adapter's base
_SNAPSHOT_LINK = re.compile(r"((?:\.\./)+)blobs/([0-9a-f]{40}|[0-9a-f]{64})", re.ASCII)
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class PolicyFiles:
    """What was read of a policy folder (or of an adapter's, with its base).

    Attributes:
        folder: where it was read, for errors; nothing is read there again.
        kind: "policy", "adapter", "exported policy" or "pretrained model".
        own: name -> SHA-256 of the folder's own files that a loader reads.
        base: the files of an adapter's base.
    """

    folder: Path
    kind: str
    own: Mapping[str, str]
    base: PolicyFiles | None = None
    _memory: Mapping[str, SealedMemory] = field(default_factory=dict, repr=False)

    @property
    def hashes(self) -> dict[str, str]:
        """Name -> SHA-256 of every file that a loader reads; those of an adapter's base as ``base/NAME``."""
        base = self.base.hashes if self.base else {}
        return dict(self.own) | {BASE + name: found for name, found in base.items()}

    @property
    def digest(self) -> str:
        """SHA-256 over `hashes`: the policy's identity."""
        return digest(self.hashes)

    @property
    def policy(self) -> PolicyFiles:
        """The files with ``policy.json``: an adapter's base, else these."""
        return self.base or self

    def __contains__(self, name: str) -> bool:
        return name in self.own

    def path(self, name: str) -> str:
        """A path that opens the bytes that were hashed; valid in this process while this object lives.

        Raises:
            CheckpointError: there is no such file, or its bytes were not kept.
        """
        return self._held(name).path

    def read(self, name: str) -> bytes:
        """The bytes that were hashed.

        Raises:
            CheckpointError: as `path`.
        """
        return self._held(name).read()

    def json(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            CheckpointError: there is no such file, or it is not JSON in UTF-8.
        """
        data = self.read(name)
        if (depth := json_depth(data)) > DEPTH:
            raise too_deep(self.folder / name, CheckpointError, DEPTH, f"{depth} levels")
        try:
            return json.loads(data.decode(), object_pairs_hook=_once)
        except ValueError as error:
            raise CheckpointError(
                "a file of the policy is not JSON",
                file=self.folder / name,
                expected="JSON in UTF-8",
                found=f"{type(error).__name__}: {str(error)[:200]}",
                remedy="get the checkpoint again",
            ) from error

    @contextmanager
    def view(self, folder: str = "") -> Iterator[Path]:
        """A private folder with the files below ``folder``, for libraries that load by path; gone afterwards.

        Every file in it is a link to the memory that was hashed.
        """
        prefix = f"{folder}/" if folder else ""
        with tempfile.TemporaryDirectory(prefix="vla-agent-") as place:
            for name, memory in self._memory.items():
                if name.startswith(prefix):
                    link = Path(place, name.removeprefix(prefix))
                    link.parent.mkdir(exist_ok=True)
                    link.symlink_to(memory.path)
            yield Path(place)

    def require(self, expected: str | None) -> None:
        """Check the identity.

        Args:
            expected: a `digest`; None: any.

        Raises:
            CheckpointError: these are other files.
        """
        if expected is not None and self.digest != expected:
            raise CheckpointError(
                "the policy's files are not the expected ones",
                file=self.folder,
                key="digest",
                expected=expected,
                found=self.digest,
                remedy="leave the folder as it is while it is in use; then start again",
            )

    def _held(self, name: str) -> SealedMemory:
        if name not in self._memory:
            raise CheckpointError(
                "a file of the policy is missing",
                file=self.folder / name,
                key=name,
                expected=f"the file beside {', '.join(sorted(self.own)) or 'nothing'}",
                found="not read" if name in self.own else "no such file",
                remedy="get the checkpoint again; a policy folder is what `vla-agent train` writes",
            )
        return self._memory[name]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A map of JSON; a key that occurs twice would mean one thing here and another to the next reader."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice in one map")
    return made


def read_policy_files(folder: str | PathLike[str], base: str | PathLike[str] | None = None) -> PolicyFiles:
    """Read every file of a policy's or an adapter's folder once, and keep the bytes for loading.

    Args:
        folder: on this machine (`vla_agent.files.policy_folder.find_folder`).
        base: an adapter's base, where it is not the one that its description names.

    Raises:
        CheckpointError: a file or folder that does not belong there, a link, a file that cannot be read or changes;
            an adapter's base is missing or another one.
    """
    return _policy_files(Path(folder), base, lambda name: True)


def hash_policy_files(folder: str | PathLike[str], base: str | PathLike[str] | None = None) -> PolicyFiles:
    """As `read_policy_files`, but weights of backbone and reader are only hashed: little memory is needed."""
    return _policy_files(Path(folder), base, _is_small)


def _is_small(name: str) -> bool:
    return not (name.startswith(("backbone/", "reader/")) and name.endswith(".safetensors") or name.endswith(GRAPHS))


def read_policy_file(folder: str | PathLike[str], name: str) -> PolicyFiles:
    """One file of a policy folder, whose list is checked whole: `PolicyFiles` without the others.

    Of an adapter's folder: the file of its base; of an exported policy's: its manifest.

    Raises:
        CheckpointError: as `read_policy_files`.
    """
    place = Path(folder)
    kind = _kind(place)
    if kind is ADAPTER:
        return hash_policy_files(place).policy
    return _read(place, kind, lambda _: True, wanted=lambda found: found in (name, MANIFEST))


def read_pretrained_files(folder: str | PathLike[str]) -> PolicyFiles:
    """The files of a pretrained model's folder that a loader may read; other files there are left alone.

    Raises:
        CheckpointError: one of them is a link or cannot be read.
    """
    return _read(Path(folder), PRETRAINED, lambda name: True)


def read_lerobot_files(folder: str | PathLike[str]) -> PolicyFiles:
    """The JSON and safetensors files of a folder of LeRobot (``pretrained_model``); others there are left alone.

    Raises:
        CheckpointError: one of them is a link or cannot be read, or there are none.
    """
    return _lerobot_files(Path(folder), lambda name: True)


def hash_served_files(folder: str | PathLike[str]) -> PolicyFiles:
    """The files of a policy that a server serves, by its folder here: this project's policy or adapter, or LeRobot's.

    Weights are only hashed.

    Raises:
        CheckpointError: as `read_policy_files` and `read_lerobot_files`.
    """
    place = Path(folder)
    if any(os.path.lexists(place / name) for name in ("policy.json", "adapter.json", MANIFEST)):
        return hash_policy_files(place)
    return _lerobot_files(place, lambda name: not name.endswith(".safetensors"))


def _lerobot_files(folder: Path, keep: Callable[[str], bool]) -> PolicyFiles:
    found = _read(folder, LEROBOT, keep)
    if "config.json" not in found or not any(name.endswith(".safetensors") for name in found.own):
        raise CheckpointError(
            "the folder holds no policy",
            file=folder,
            expected="config.json and weights (.safetensors) of LeRobot, or policy.json of this project",
            found=", ".join(found.own) or "neither",
            remedy="name the folder that lerobot-train wrote: checkpoints/last/pretrained_model",
        )
    return found


def _policy_files(folder: Path, base: str | PathLike[str] | None, keep: Callable[[str], bool]) -> PolicyFiles:
    own = _read(folder, _kind(folder), keep)
    if own.kind != ADAPTER.kind:
        return own
    return PolicyFiles(own.folder, own.kind, own.own, _find_base(folder, _base_of(own), base, keep), own._memory)


def _kind(folder: Path) -> FileList:
    kinds = {"policy.json": POLICY, "adapter.json": ADAPTER, MANIFEST: EXPORTED}
    found = [name for name in kinds if os.path.lexists(folder / name)]
    if len(found) > 1:
        raise _refused(folder / found[1], f"the file of an {kinds[found[1]].kind} in another one's folder")
    return kinds[found[0]] if found else POLICY


def _base_of(files: PolicyFiles) -> dict[str, str]:
    description = files.json("adapter.json")
    mapping = description if isinstance(description, dict) else {}
    base, keys = mapping.get("base"), ("name", "beside", "sha256")
    found: dict[str, Any] = base if isinstance(base, dict) else {}
    if mapping.get("format") == ADAPTER_FORMAT and all(isinstance(found.get(key), str) for key in keys):
        return {key: found[key] for key in keys}
    raise CheckpointError(
        "the adapter's description cannot be read",
        file=files.folder / "adapter.json",
        key="base" if mapping.get("format") == ADAPTER_FORMAT else "format",
        expected=f"format {ADAPTER_FORMAT}, and a base with {', '.join(keys)}",
        found=f"format {mapping.get('format')}, base {base}"[:200],
        remedy="get the adapter again, or train it again with vla-agent finetune",
    )


def _find_base(
    folder: Path,
    wanted: Mapping[str, str],
    given: str | PathLike[str] | None,
    keep: Callable[[str], bool],
) -> PolicyFiles:
    """The base whose digest the adapter names: the given one, or that of the name, or that beside the adapter."""
    found: list[str] = []
    named: list[str | PathLike[str]] = [wanted["name"], folder / wanted["beside"]]
    for name in named if given is None else [given]:
        try:
            place = find_folder(name, download=given is not None)
            files = _read(place, POLICY, keep)
        except (VlaAgentError, OSError, ValueError) as error:
            found.append(f"{name}: {error.what if isinstance(error, VlaAgentError) else error}")
            continue
        if files.digest == wanted["sha256"]:
            return files
        found.append(f"{place} with {files.digest}")
    raise CheckpointError(
        "the adapter's base is missing or is a different policy",
        file=folder / "adapter.json",
        key="base.sha256",
        expected=f"{wanted['name']} with {wanted['sha256']}",
        found="; ".join(found),
        remedy=f"put the policy that it was trained on at {wanted['name']}, or use the merged policy beside it",
    )


def _read(
    folder: Path, files: FileList, keep: Callable[[str], bool], wanted: Callable[[str], bool] = lambda name: True
) -> PolicyFiles:
    """Read the files of the list, through one open folder: nobody can exchange it meanwhile."""
    hashes: dict[str, str] = {}
    memory: dict[str, SealedMemory] = {}
    opened: dict[str, int] = {}
    try:
        names = _names(folder, files, opened)
        for name in sorted(filter(wanted, names)):
            source = _open(folder, name, opened)
            try:
                _require_regular(os.fstat(source), folder / name)
                if keep(name):
                    memory[name] = seal(source, str(folder / name))
                hashes[name] = memory[name].sha256 if keep(name) else hash_open_file(source, str(folder / name))
            finally:
                os.close(source)
        if len(hashes) == len(names):
            require_shards(names, files.models, lambda name: memory[name].read(), folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    return PolicyFiles(folder, files.kind, hashes, None, memory)


def _names(folder: Path, files: FileList, opened: dict[str, int]) -> list[str]:
    """The names that the list reads in this folder and its own ones, which are opened; anything else is refused."""
    names: list[str] = []
    waiting = [""]
    opened[""] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    while waiting:
        place = waiting.pop()
        with os.scandir(opened[place]) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                name = f"{place}/{entry.name}" if place else entry.name
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and name in files.folders:
                    opened[name] = os.open(entry.name, _FLAGS | os.O_DIRECTORY, dir_fd=opened[place])
                    waiting.append(name)
                elif stat.S_ISDIR(mode) and name in files.record_folders:
                    continue
                elif files.is_loaded(place, entry.name):
                    if not _is_plain(folder, mode):
                        raise _refused(folder / name, _what(mode))
                    names.append(name)
                elif not (files.others or (_is_plain(folder, mode) and files.is_record(place, entry.name))):
                    raise _refused(folder / name, f"{_what(mode)} that does not belong in a {files.kind}'s folder")
    return names


def _is_plain(folder: Path, mode: int) -> bool:
    return stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and _is_snapshot(folder))


def _is_snapshot(folder: Path) -> bool:
    place = folder.absolute()
    return place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--")


def _open(folder: Path, name: str, opened: Mapping[str, int]) -> int:
    place, _, last = name.rpartition("/")
    try:
        mode = os.stat(last, dir_fd=opened[place], follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return _open_blob(folder, name, os.readlink(last, dir_fd=opened[place]))
        _require_mode(mode, folder / name)
        return os.open(last, _FLAGS, dir_fd=opened[place])
    except OSError as error:
        raise _unreadable(folder / name, error) from error


def _open_blob(folder: Path, name: str, target: str) -> int:
    """A file of the hub's cache: its snapshots are folders of links to regular files in ``blobs`` of the same model."""
    link = _SNAPSHOT_LINK.fullmatch(target)
    if not (link and _is_snapshot(folder) and len(link[1]) == 3 * (2 + name.count("/"))):
        raise _refused(folder / name, "a link")
    blobs = os.open(folder.absolute().parent.parent / "blobs", _FLAGS | os.O_DIRECTORY)
    try:
        _require_mode(os.stat(link[2], dir_fd=blobs, follow_symlinks=False).st_mode, folder / name)
        return os.open(link[2], _FLAGS, dir_fd=blobs)
    finally:
        os.close(blobs)


def _require_regular(found: os.stat_result, file: Path) -> None:
    _require_mode(found.st_mode, file)
    if file.suffix not in (".safetensors", *GRAPHS) and found.st_size > MOST_TEXT:
        raise CheckpointError(
            "a file of the policy is too large",
            file=file,
            expected=f"at most {MOST_TEXT} bytes",
            found=f"{found.st_size} bytes",
            remedy="get the checkpoint again",
        )


def _require_mode(mode: int, file: Path) -> None:
    if not stat.S_ISREG(mode):
        raise _refused(file, _what(mode))


def _what(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _refused(file: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "a policy folder holds what does not belong there",
        file=ascii(str(file))[1:-1],
        expected="the regular files that `vla-agent train` and `vla-agent finetune` write (docs/policy.md lists them)",
        found=found,
        remedy="move it elsewhere; where it came with a download, do not trust that download",
    )


def _unreadable(file: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        "a policy's file or folder cannot be read",
        file=file,
        expected="regular files that this user may read",
        found=error.strerror or str(error),
        remedy="check the path and its permissions, or get the checkpoint again",
    )
