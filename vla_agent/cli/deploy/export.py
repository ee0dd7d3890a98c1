"""``vla-agent export``: a policy as graphs of ONNX or OpenVINO, with a runner that needs no torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError
from vla_agent.export.making.output_folder import require_own

DESCRIPTION = """\
Export a policy as graphs: images, state and instruction in, a chunk of actions out, with contract, normalisers,
tokenizers, the reader of instructions and the doubt that holds the arm still.  FOLDER also receives run.py, which
needs numpy and onnxruntime alone.

The exported policy is compared with the policy on observations of the simulator (drawn ones for other robots).
Where an action differs by more than 0.001 of its range, or a refusal differs, nothing is written.
"""
EPILOG = """\
examples:
  vla-agent export policies/tabletop-nano -o runs/exported
  python runs/exported/run.py "put the red mug in the tray"        # with numpy and onnxruntime alone
  vla-agent export policies/tabletop-nano -o runs/exported --format both --observations 1000
  vla-agent export policies/tabletop-nano -o runs/exported-int8 --int8
  vla-agent export runs/vlm/policy -o runs/exported --instructions instructions.txt   # of a pretrained model

The folder is a policy as any other: vla-agent eval, serve, gate and verify take it.
exit codes: 0 done, 2 bad input, or the exported policy acts otherwise

next: `vla-agent eval FOLDER`, `vla-agent gate FOLDER`; docs/export.md says what is in it, and what is not
"""
LONGEST_LIST = 10_000  # instructions


def add_parser(subparsers: Any) -> None:
    """Add ``export`` to the command line."""
    parser = subparsers.add_parser("export", help="export a policy as graphs", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("policy", metavar="POLICY", help="policy folder or hf://OWNER/NAME of the Hugging Face hub")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="what to write")
    parser.add_argument("--format", default="onnx", choices=("onnx", "openvino", "both"), help="(default: onnx)")
    parser.add_argument("--int8", action="store_true", help="int8 weights in the matrix products of ONNX")
    parser.add_argument(
        "--observations", type=int, default=100, metavar="N", help="to compare on (default: %(default)s)"
    )
    parser.add_argument(
        "--instructions", type=Path, metavar="FILE", help="of a pretrained model: what it shall know, one a line"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export and print the parity."""
    if args.observations < 1:
        raise _invalid("--observations", "at least 1", args.observations)
    instructions = _instructions(args.instructions) if args.instructions else ()
    require_own(args.out)
    _require_packages()
    import torch

    from vla_agent.export.making.export import FORMATS, ExportSettings, export
    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    policy = load_policy(args.policy)
    if not hasattr(policy, "backbone"):
        raise _invalid(
            "POLICY", "a policy folder that vla-agent train wrote", f"{args.policy}: {type(policy).__name__}"
        )
    settings = ExportSettings(FORMATS[args.format], args.int8, args.observations, instructions)
    about = export(policy, args.out, settings)
    for name, parity in about["parity"].items():
        print(
            f"{name}: largest difference {parity['largest']:.2g} of the range ({parity['field'] or 'none'}), "
            f"{parity['refused']} of {parity['observations']} observations refused, {parity['disagreed']} otherwise"
        )
    print(f"exported policy: {args.out}")
    for line in about["unchecked"]:
        print(f"it does not check {line}")
    return 0


def _instructions(file: Path) -> tuple[str, ...]:
    """The lines of a file that are not empty."""
    from vla_agent.files.bounded_reading import read_text

    text = read_text(file, OptionError).removeprefix("\ufeff")  # as some editors begin a file
    lines = [line.strip() for line in text.splitlines()]
    found = tuple(dict.fromkeys(line for line in lines if line))
    if not 1 <= len(found) <= LONGEST_LIST:
        raise _invalid("--instructions", f"1 to {LONGEST_LIST} lines", len(found))
    return found


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import openvino  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "exporting needs packages that are not installed",
            key=error.name or "export",
            expected="onnx, onnxruntime, onnxscript and openvino",
            found=str(error),
            remedy="pip install 'vla_agent[export]'",
        ) from error


def _invalid(key: str, expected: str, found: object) -> OptionError:
    return OptionError(
        "an option has an invalid value",
        key=key,
        expected=expected,
        found=found,
        remedy="see vla-agent export --help",
    )
