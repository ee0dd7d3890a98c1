"""``vla-agent inspect``: the contract of a policy, a dataset or the simulator, and whether two of them match."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from vla_agent.contract import Contract, Field

DESCRIPTION = """\
Print the contract of a policy, a dataset or the simulator: cameras, state, action, rate, chunk, language, and the
values that a policy normalises to -1 and 1.  With --against, list every difference and how to fix it.
"""
EPILOG = """\
examples:
  vla-agent inspect policies/tabletop-nano
  vla-agent inspect policies/tabletop-nano --against sim
  vla-agent inspect runs/mine/policy --against datasets/mine
  vla-agent inspect sim
  vla-agent inspect ws://gpu:8000 --against sim        # of a policy behind `vla-agent serve`

next: `vla-agent eval POLICY --rename-camera POLICY'S=SIMULATOR'S` where only a camera's name differs.
exit codes: 0 they match, 2 they differ, or bad input
"""


def add_parser(subparsers: Any) -> None:
    """Add ``inspect`` to the command line."""
    parser = subparsers.add_parser("inspect", help="print a contract", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "what", metavar="POLICY|DATASET|sim", help="policy or dataset: folder, hf://OWNER/NAME, ws://HOST:PORT, or sim"
    )
    parser.add_argument("--against", metavar="OTHER", help="list the differences from another; chunk length included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print, and compare where asked.

    Raises:
        ContractError: the two differ; lists every difference with its fix.
        CheckpointError: there is no contract.
    """
    from rich.console import Console

    from vla_agent.policy.sources import contract_of, kind_of

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=True)
    contract = contract_of(args.what)
    if args.against is None:
        _show(args.what, kind_of(args.what), contract, console)
        return 0
    other = contract_of(args.against)
    names = [name if name == kind_of(name) else f"{kind_of(name)} {name}" for name in (args.what, args.against)]
    contract.require(other, *names)
    console.print(f"{names[0]} and {names[1]} match: contract {contract.hash[:12]} on both sides")
    return 0


def _show(name: str, kind: str, contract: Contract, console: Any) -> None:
    console.print(f"{kind} {name}    contract version {contract.version}, hash {contract.hash[:12]}")
    console.print(
        f"{contract.control_hz:g} Hz, chunks of {contract.chunk_length} control periods, "
        f"instructions in '{contract.language}'\n"
    )
    cameras = _table("camera", "height", "width", "colour", "rate")
    for camera in contract.cameras:
        rate = "each control period" if camera.hz is None else f"{camera.hz:g} Hz"
        cameras.add_row(camera.name, str(camera.height), str(camera.width), camera.color, rate)
    console.print(cameras)
    for layout, title in ((contract.state, "state"), (contract.action, "action")):
        console.print()
        console.print(_fields(name if kind == "policy" else None, title, layout, contract))


def _fields(policy: str | None, title: str, layout: tuple[Field, ...], contract: Contract) -> Table:
    """One row a field; for a policy with the values that it normalises to -1 and 1."""
    from vla_agent.policy.sources import normalised_range

    table = _table(title, "size", "unit", "frame", "range", "rotation", *(["normalised to -1 and 1"] if policy else []))
    normalised = normalised_range(policy, title) if policy else None
    for name, place in contract.slices(layout).items():
        field = next(f for f in layout if f.name == name)
        row = [name, str(field.size), field.unit, field.frame, _range(field), field.rotation]
        if normalised is not None:
            pairs = zip(normalised["low"][place], normalised["high"][place], strict=True)
            row.append("\n".join(f"{low:.3g} and {high:.3g}" for low, high in pairs))
        table.add_row(*row)
    return table


def _range(field: Field) -> str:
    if field.low is None and field.high is None:
        return ""
    return " to ".join("open" if limit is None else f"{limit:g}" for limit in (field.low, field.high))


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
