"""Runs the commands and programs that the documents show, in order, each document in an empty folder.

A ``bash`` or ``python`` block says by an HTML comment above it what happens to it; GitHub shows no comments:

    <!-- run -->                    runs, after the blocks before it in the same document
    <!-- not run: REASON -->        needs what is not here (hardware, GPU, hub, a running graph), and says what
    <!-- file: NAME -->             above a block of any language: its text is written to NAME in the folder

``VLA_AGENT_DOCS=docs/tutorial.md,README.md`` runs some documents only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT

NAME = "house-docs"
TITLE = "blocks of commands and programs in the documents that run as they stand, each document in an empty folder"
TARGET = 1.0
UNIT = "of the blocks"
BETTER = "higher"
LIMIT = 1800.0  # s a block
LANGUAGES = ("bash", "python")
BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>run|not run|file)(?:: (?P<note>[^\n]*?))? -->\n\n?)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.  ``marker``: run, not run, file, or empty; ``note``: the reason, or the file's name."""

    file: str
    line: int
    language: str
    code: str
    marker: str
    note: str


def documents() -> list[str]:
    """Paths of the documents from the repository's root, the README and the tutorial first."""
    first = ["README.md", "docs/tutorial.md"]
    rest = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))
    return first + [p for p in (*rest, "CONTRIBUTING.md", "examples/README.md") if p not in first]


def blocks(document: str) -> Iterator[Block]:
    """The blocks of a document that have a marker or are of a language that runs."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if not match["marker"] and match["language"] not in LANGUAGES:
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(document, line, match["language"], match["code"], match["marker"] or "", match["note"] or "")


def run_document(document: str, folder: Path) -> Iterator[dict[str, Any]]:
    """One row a block, in order; the blocks share ``folder``."""
    for block in blocks(document):
        row = {"file": document, "line": block.line, "language": block.language, "seconds": None, "ok": None}
        if block.marker == "file":
            (folder / block.note).write_text(block.code, encoding="utf-8")
            continue
        if block.marker == "run":
            seconds, error = _run(block, folder)
            row |= {"seconds": round(seconds, 1), "ok": not error, "note": error}
        else:
            row |= {"note": block.note or "no marker"}
        yield row


def _run(block: Block, folder: Path) -> tuple[float, str]:
    """Seconds, and the end of the output where the block failed."""
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "HOME": str(home), "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}
    interpreter = [sys.executable] if block.language == "python" else ["bash", "-euo", "pipefail"]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [*interpreter, "-c", block.code],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return LIMIT, f"not done after {LIMIT:.0f} s"
    return (
        time.perf_counter() - began,
        "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stdout[-400:]}",
    )


def run() -> dict[str, Any]:
    """Run all documents, or those of ``VLA_AGENT_DOCS``."""
    chosen = [name for name in os.environ.get("VLA_AGENT_DOCS", "").split(",") if name] or documents()
    rows: list[dict[str, Any]] = []
    for document in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for row in run_document(document, Path(folder)):
                print(f"{row['file']}:{row['line']} {row['seconds']} s {row['ok']} {row['note']}", file=sys.stderr)
                rows.append(row)
    ran = [row for row in rows if row["ok"] is not None]
    left = len(rows) - len(ran)
    return {
        "value": sum(row["ok"] for row in ran) / len(ran),
        "n": len(ran),
        "interval": None,
        "seeds": None,
        "rows": rows,
        "notes": f"{len(chosen)} documents; {left} blocks do not run here, each with its reason in the rows",
    }
