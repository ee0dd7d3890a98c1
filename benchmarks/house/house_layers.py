"""The layers of docs/architecture.md: contracts that are broken, modules that import each other in a circle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.house.code_lines import PACKAGES
from benchmarks.record import ROOT

NAME = "house-layers"
TITLE = "import contracts that are broken, import circles, and modules that no layer names"
TARGET = 0
UNIT = "findings"
BETTER = "lower"
BESIDE = ("vla_agent", "vla_agent.__main__", "vla_agent.data", "vla_agent.policy")  # packages whose rooms are layers


def run() -> dict[str, Any]:
    graph = build()
    broken, circles, homeless = broken_contracts(), import_circles(graph), unnamed(graph)
    rows = [
        {"finding": "broken contracts", "count": len(broken), "where": "; ".join(broken)},
        {"finding": "import circles", "count": len(circles), "where": "; ".join(" <-> ".join(c) for c in circles)},
        {"finding": "modules in no layer", "count": len(homeless), "where": "; ".join(homeless)},
    ]
    return {
        "value": sum(row["count"] for row in rows),
        "n": len(graph.modules),
        "interval": None,
        "seeds": [],
        "rows": rows,
        "notes": "n counts modules; the contracts stand in pyproject.toml; imports inside functions count, too.",
    }


def build() -> Any:
    """The graph of all imports between modules of the packages."""
    import grimp

    sys.path[:0] = [str(ROOT)]
    return grimp.build_graph(*PACKAGES)


def broken_contracts() -> list[str]:
    """Names of the contracts that `lint-imports` finds broken."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return [line.removesuffix("BROKEN").strip() for line in done.stdout.splitlines() if line.endswith("BROKEN")]


def import_circles(graph: Any) -> list[list[str]]:
    """Groups of modules that import each other, directly or not (strongly connected components)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    names = sorted(graph.modules)
    number = {name: k for k, name in enumerate(names)}
    pairs = [(number[a], number[b]) for a in names for b in graph.find_modules_directly_imported_by(a)]
    start, end = zip(*pairs, strict=True)
    matrix = csr_array(([1] * len(pairs), (start, end)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(int(label), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def unnamed(graph: Any) -> list[str]:
    """Modules of the packages that lie in no layer of the first contract."""
    layers = layer_names()
    inside = [f"{layer}." for layer in layers]
    return [m for m in sorted(graph.modules) if m not in (*layers, *BESIDE) and not m.startswith(tuple(inside))]


def layer_names() -> list[str]:
    """The rooms that the contract of layers names, highest first."""
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [name.strip() for layer in layers for name in layer.split("|")]
