"""Storage of a run's episodes: while it runs, one appended line each; when it has finished, the whole report.

``OUT/.partial/run.json`` says what the run is; ``OUT/.partial/episodes.jsonl`` holds the finished episodes with their
actions.  A finished run is ``OUT/report.json``, ``OUT/actions.npz`` and ``OUT/report.html``.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from vla_agent.errors import ReportError, VlaAgentError
from vla_agent.evaluation.play.player import Job, PlayedEpisode
from vla_agent.files import bounded_reading
from vla_agent.files.bounded_arrays import read_arrays
from vla_agent.files.input_limits import ACTIONS_ARRAYS, ACTIONS_BYTES, ARRAYS_BYTES, REPORT_BYTES, SCRATCH_BYTES
from vla_agent.files.write_aside import file_aside, remove_folder, write_text
from vla_agent.policy.execution_settings import Execution

KEYS = ("policy", "suite", "split", "versions", "hashes", "episodes", "summary")
SHAPES = {"versions": dict, "hashes": dict, "episodes": list, "summary": dict}
ROW_KEYS = ("task", "instruction", "seed", "success", "steps", "failure", "control", "state_hash", "image_hash")


class Store:
    """The episodes of one run in folder ``out``.

    Args:
        identity: what must be equal for episodes to belong together (policy, split, hashes, versions of the physics).
        resume: keep the finished episodes of an earlier run with the same identity.

    Raises:
        ReportError: ``out`` holds a run and ``resume`` is False, or a run with another identity, or cannot be written.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], resume: bool) -> None:
        self.out, self.aside = out, out / ".partial"
        self.records: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, np.ndarray] = {}
        self.looks: dict[str, np.ndarray] = {}
        self.seconds = 0.0
        earlier = self._earlier_identity()
        if earlier is not None:
            self._require_same_run(earlier, identity)
        if earlier is not None and not resume:
            unfinished = self.aside.exists()
            raise ReportError(
                f"the output folder holds {'an unfinished' if unfinished else 'a finished'} evaluation",
                file=self.out,
                key="--out",
                expected="an empty folder, or --resume",
                found=f"{len(self._lines())} finished episodes" if unfinished else "report.json",
                remedy="add --resume to continue it, or name another --out, or remove the folder",
            )
        _require_writable(out)
        if resume:
            self._load()
        self._identity = identity
        self._file: TextIO | None = None  # opened by the first episode: a run that cannot start leaves no files

    def _earlier_identity(self) -> dict[str, Any] | None:
        for file in (self.aside / "run.json", self.out / "report.json"):
            if file.exists():
                data = read_json(file)
                return Execution.identity(data) | data if file.name == "run.json" else identity_of(data)
        return None

    def _require_same_run(self, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        different = [k for k in now if k != "tasks" and earlier.get(k) != now[k]]
        shared = set(earlier.get("tasks", {})) & set(now["tasks"])
        different += [f"tasks.{t}" for t in sorted(shared) if earlier["tasks"][t] != now["tasks"][t]]
        different += [f"tasks.{t}" for t in sorted(set(earlier.get("tasks", {})) - shared)]
        if different:
            flat = [{**d, **{f"tasks.{t}": digest for t, digest in d.get("tasks", {}).items()}} for d in (now, earlier)]
            raise ReportError(
                "the output folder holds another evaluation",
                file=self.out,
                key=", ".join(different),
                expected=", ".join(f"{k} {_short(flat[0].get(k))}" for k in different),
                found=", ".join(f"{k} {_short(flat[1].get(k))}" for k in different),
                remedy="name another --out, or add its tasks to --tasks; the earlier report stays unchanged",
            )

    def _lines(self) -> list[dict[str, Any]]:
        """The complete lines of the partial run; a last line that was cut off is left out."""
        file = self.aside / "episodes.jsonl"
        if not file.exists():
            return []
        lines = []
        for number, line in bounded_reading.raw_lines(file, ReportError, SCRATCH_BYTES):
            try:
                lines.append(bounded_reading.parse_json(line, f"{file}:{number}", ReportError))
            except ValueError:
                continue
        return lines

    def _load(self) -> None:
        if (self.out / "report.json").exists() and (self.out / "actions.npz").exists():
            report = read_report(self.out / "report.json")
            stored = _all_arrays(self.out / "actions.npz")
            for row in report["episodes"]:
                key = key_of(row)
                if f"{key}/actions" in stored and f"{key}/looks" in stored:
                    self._keep(key, row, stored[f"{key}/actions"], stored[f"{key}/looks"])
            self.seconds += report["summary"]["seconds"]["episodes"]
        for line in self._lines():
            actions = np.frombuffer(base64.b64decode(line["actions"]), np.float32).reshape(line["shape"])
            self._keep(line["key"], line["record"], actions, np.array(line["looks"], np.int32))
            self.seconds += line["seconds"]
        file = self.aside / "episodes.jsonl"
        if file.exists():
            with file.open("rb+") as stream:
                stream.seek(-min(1, stream.seek(0, os.SEEK_END)), os.SEEK_END)
                if stream.read(1) not in (b"\n", b""):
                    stream.write(b"\n")

    def _keep(self, key: str, row: dict[str, Any], actions: np.ndarray, looks: np.ndarray) -> None:
        self.records[key], self.actions[key], self.looks[key] = row, actions, looks

    def add(self, played: PlayedEpisode) -> None:
        """Keep one finished episode; it is on disk when this returns."""
        key = played.job.key
        self._keep(key, played.record, played.actions, np.array(played.looks, np.int32))
        self.seconds += played.seconds
        line = {
            "key": key,
            "record": played.record,
            "actions": base64.b64encode(np.asarray(played.actions, np.float32).tobytes()).decode(),
            "shape": played.actions.shape,
            "looks": list(played.looks),
            "seconds": round(played.seconds, 4),
        }
        file = self._file or self._open()
        file.write(json.dumps(line) + "\n")
        file.flush()

    def _open(self) -> TextIO:
        self.aside.mkdir(parents=True, exist_ok=True)
        write_text(self.aside / "run.json", json.dumps(self._identity, indent=1))
        self._file = (self.aside / "episodes.jsonl").open("a", encoding="utf-8")
        return self._file

    def finish(self, report: Mapping[str, Any], page: str) -> None:
        """Write the finished run: actions, report, page; then remove the partial run."""
        keys = [key_of(row) for row in report["episodes"]]
        arrays = {f"{k}/actions": self.actions[k] for k in keys} | {f"{k}/looks": self.looks[k] for k in keys}
        with file_aside(self.out / "actions.npz") as aside, aside.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes names for options
        write_text(self.out / "report.json", json.dumps(report, indent=1))
        write_text(self.out / "report.html", page)
        self.close()
        remove_folder(self.aside)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def key_of(row: Mapping[str, Any]) -> str:
    """The key of an episode: ``control/task/seed``."""
    return Job(row["control"], row["task"], row["seed"]).key


def identity_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for further episodes to belong to this report."""
    hashes = report["hashes"]
    return {
        "policy": report["policy"],
        "suite": report["suite"],
        "split": report["split"],
        "policy_files": hashes["policy"],
        "simulator": hashes["simulator"],
        "contract": hashes["contract"],
        "mujoco": report["versions"]["mujoco"],
        "tasks": hashes["tasks"],
    } | Execution.identity(report["summary"].get("settings", {}))


def read_report(file: Path) -> dict[str, Any]:
    """Read ``report.json``.

    Raises:
        ReportError: missing, damaged, or not a report.
    """
    report = read_json(file)
    missing = [k for k in KEYS if k not in report] if isinstance(report, dict) else list(KEYS)
    if missing:
        raise ReportError(
            "the file is not an evaluation report",
            file=file,
            key=", ".join(missing),
            expected=", ".join(KEYS),
            found=sorted(report) if isinstance(report, dict) else type(report).__name__,
            remedy="pass the report.json that `vla-agent eval` wrote",
        )
    for key, shape in SHAPES.items():
        if not isinstance(report[key], shape):
            raise ReportError(
                "the file is not an evaluation report",
                file=file,
                key=key,
                expected="a list" if shape is list else "a map",
                found=type(report[key]).__name__,
                remedy="pass the report.json that `vla-agent eval` wrote",
            )
    for number, row in enumerate(report["episodes"]):
        absent = [k for k in ROW_KEYS if k not in row] if isinstance(row, dict) else list(ROW_KEYS)
        if absent:
            raise ReportError(
                "an episode of the report is incomplete",
                file=file,
                key=", ".join(f"episodes.{number}.{k}" for k in absent),
                expected=", ".join(ROW_KEYS),
                found=sorted(row) if isinstance(row, dict) else type(row).__name__,
                remedy="the file was changed: get it again, or evaluate again",
            )
    return report


def read_episode_arrays(file: Path, key: str, error: type[VlaAgentError]) -> tuple[np.ndarray, np.ndarray]:
    """Actions and looks of one episode of an ``actions.npz``, as they are stored; nothing is unpickled.

    Raises:
        OSError, ValueError, KeyError: they are missing or damaged.
        VlaAgentError: ``error``: they are larger than any that were played.
    """
    names = f"{key}/actions", f"{key}/looks"
    arrays = read_arrays(file, error, ACTIONS_BYTES, names, ACTIONS_ARRAYS)
    return arrays[names[0]], arrays[names[1]]


def _all_arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(file, ReportError, ARRAYS_BYTES, count=ACTIONS_ARRAYS)
    except (OSError, ValueError) as error:
        raise ReportError(
            "the actions of the finished run cannot be read",
            file=file,
            expected="the actions.npz that `vla-agent eval` wrote",
            found=f"{type(error).__name__}: {error}",
            remedy="get the file again, or evaluate into another --out",
        ) from error


def read_json(file: Path) -> Any:
    """A JSON file of a run, of at most `REPORT_BYTES`.

    Raises:
        ReportError: missing, damaged, no regular file, too large, or nested too deeply.
    """
    try:
        return bounded_reading.read_json(file, ReportError, REPORT_BYTES)
    except (OSError, ValueError) as error:
        raise ReportError(
            "the report cannot be read",
            file=file,
            expected="a JSON file that `vla-agent eval` wrote",
            found=getattr(error, "strerror", None) or f"{type(error).__name__}: {error}",
            remedy="check the path, or evaluate again",
        ) from error


def _require_writable(out: Path) -> None:
    """Raise where ``out`` cannot be a folder that this process writes into."""
    nearest = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ReportError(
            "the report cannot be written there",
            file=out,
            key="--out",
            expected="a folder, or the name of one that can be made",
            found=f"{nearest} is " + ("read-only for this user" if nearest.is_dir() else "a file"),
            remedy="name another --out",
        )


def _short(value: Any) -> str:
    text = str(value)
    return "absent" if value is None else text if len(text) <= 40 else text[:37] + "..."
