"""The picture ``docs/img/architecture.svg``: the rooms of the project, drawn from the layers in ``pyproject.toml``."""

from __future__ import annotations

from html import escape

import tomllib

from benchmarks import record

FILE = record.ROOT / "docs" / "img" / "architecture.svg"
IDEAS = {
    "benchmarks": "measures the numbers that the documents quote",
    "vla_agent.peers": "other projects' policies behind our server",
    "vla_agent.cli": "the commands of vla-agent",
    "vla_agent.view": "one live page in the browser: 3-D, cameras, plots, controls",
    "vla_agent.ros": "ROS 2 nodes: the graph around a robot, simulated or real",
    "vla_agent.leaderboard": "a frozen suite for others: scores, result files, vla-eval",
    "vla_agent.gate": "evidence, statistical decision, signed certificate",
    "vla_agent.evaluation": "episodes, controls, intervals, report, replay",
    "vla_agent.export.making": "a policy as graphs, compared with it",
    "vla_agent.finetuning": "adapters on demonstrations, comparison with the base",
    "vla_agent.training": "from demonstrations and generated images to a policy",
    "vla_agent.data.collect": "records demonstrations in the simulator",
    "vla_agent.environments": "the tabletop, public benchmarks and yours, behind one protocol",
    "sim": "MuJoCo tabletop: tasks, experts, perturbations, episodes",
    "vla_agent.data.browse": "a page that plays, sorts and flags episodes",
    "vla_agent.data.convert": "bags, HDF5, others",
    "vla_agent.data.validate": "defects, by frame",
    "vla_agent.data.edit": "leave out, split, merge",
    "vla_agent.data.lerobot": "LeRobotDataset v3.0: write, read, check",
    "vla_agent.policy.inference_timing": "latency here",
    "vla_agent.policy.execution_settings": "mode and delay",
    "vla_agent.policy.loading": "any policy by its name: folder, hub id, server, script",
    "vla_agent.policy.sources": "where a policy's files come from",
    "vla_agent.adapters": "LoRA and others",
    "vla_agent.serving": "websocket server",
    "vla_agent.policy.speed": "compile, quantise",
    "vla_agent.export.exported": "graphs, no torch",
    "vla_agent.policy.checkpoint": "reads a policy folder, and refuses damaged ones",
    "vla_agent.policy.policy": "reset(instruction), act(observation) -> chunk",
    "vla_agent.models": "backbones, heads",
    "vla_agent.policy.execution": "chunks -> one action a step",
    "vla_agent.robot": "kinematics, controller, cameras, safety supervisor",
    "vla_agent.contract": "what a policy sees and emits, in units and frames",
    "vla_agent.files": "written whole or not at all; hashes; recipes",
    "vla_agent.errors": "typed errors: file, key, expected, found, remedy",
}
# First layer of each band, its name and colour; the bands are for the eye, the layers are the rule.
BANDS = {
    "benchmarks": ("use", "#1d4ed8"),
    "vla_agent.leaderboard": ("judge", "#b45309"),
    "vla_agent.export.making": ("learn", "#047857"),
    "sim": ("simulate", "#7e22ce"),
    "vla_agent.data.browse": ("data", "#0e7490"),
    "vla_agent.policy.inference_timing": ("policy", "#be123c"),
    "vla_agent.robot": ("base", "#374151"),
}
WIDTH, LEFT, ROW, GAP = 860, 96, 34, 6


def layers() -> list[list[str]]:
    """The layers from top to bottom, each with the rooms that stand side by side in it."""
    settings = tomllib.loads((record.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    lines = next(c["layers"] for c in contracts if c["type"] == "layers")
    return [[room.strip() for room in line.split("|")] for line in lines]


def picture() -> str:
    """The SVG text."""
    rows = layers()
    height = len(rows) * (ROW + GAP) + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img" aria-label="Layers of the project, from top to bottom">',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#f8fafc"/>',
        f'<text x="{LEFT}" y="26" font-size="14" fill="#334155">A room imports only rooms further down '
        "(checked by import-linter).</text>",
    ]
    colour = "#374151"
    for k, rooms in enumerate(rows):
        y = 40 + k * (ROW + GAP)
        if rooms[0] in BANDS:
            band, colour = BANDS[rooms[0]]
            parts.append(f'<text x="14" y="{y + 22}" font-size="14" font-weight="600" fill="{colour}">{band}</text>')
        parts += _boxes(rooms, y, colour)
    return "\n".join([*parts, "</svg>", ""])


def _boxes(rooms: list[str], y: int, colour: str) -> list[str]:
    width = (WIDTH - LEFT - 14 - GAP * (len(rooms) - 1)) / len(rooms)
    parts = []
    for k, room in enumerate(rooms):
        x = LEFT + k * (width + GAP)
        name = room.removeprefix("vla_agent.").replace(".", "/")
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW}" rx="6" fill="{colour}"/>'
            f'<text x="{x + 10:.0f}" y="{y + 22}" font-size="14" fill="#ffffff"><tspan font-weight="600">'
            f'{escape(name)}</tspan><tspan dx="10" font-size="12.5" fill="#e2e8f0">{escape(IDEAS[room])}</tspan></text>'
        )
    return parts
