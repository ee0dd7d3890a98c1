"""``vla-agent data edit``: leave out, keep, trim, merge and split episodes, change their instructions and the rate.

The original is never written to.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
EXAMPLE = "vla-agent data edit datasets/mine --leave-out 3,7 -o datasets/mine-edited"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``edit``."""
    parser.add_argument("--leave-out", metavar="LIST", help="edit: episodes that are not taken, such as 3,7-9")
    parser.add_argument(
        "--drop",
        metavar="FILE",
        help="edit: leave out the episodes with errors in this file of data validate --json, or of data browse",
    )
    parser.add_argument("--keep", metavar="LIST", help="edit: the only episodes that are taken")
    parser.add_argument(
        "--trim",
        metavar="EPISODE:FIRST-LAST",
        action="append",
        default=[],
        help="edit: the frames of an episode that are kept, such as 4:10-85; may be repeated",
    )
    parser.add_argument(
        "--merge", metavar="DIR", action="append", default=[], help="edit: append this dataset's episodes; repeatable"
    )
    parser.add_argument(
        "--split",
        metavar="NAME=LIST",
        action="append",
        default=[],
        help="edit: write these episodes as OUT/NAME, such as train=0-39; may be repeated",
    )
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="edit: another instruction for every frame that has this one; may be repeated",
    )
    parser.add_argument(
        "--instruction",
        metavar="LIST=TEXT",
        action="append",
        default=[],
        help="edit: the instruction of these episodes, such as '3,7-9=open the drawer'; may be repeated",
    )
    parser.add_argument(
        "--fps",
        metavar="N",
        type=int,
        help="edit: a lower rate, a whole part of the old one: every k-th frame, with the actions of k combined",
    )


def run(args: argparse.Namespace) -> int:
    """Write the edited dataset, or its parts, and print what was done."""
    from vla_agent.data.edit.edit import edit_dataset, split_dataset
    from vla_agent.data.edit.edit_plan import Edit

    if not args.out:
        raise OptionError(
            "an edit writes another folder", key="-o", expected="a new folder", found="none", remedy=EXAMPLE
        )
    edit = Edit(
        leave_out=_left_out(args),
        keep=_numbers("--keep", args.keep) if args.keep is not None else None,
        trims=_trims(args.trim),
        instructions=_instructions(args.instruction),
        renames=_renames(args.rename),
        fps=args.fps,
    )
    if edit == Edit() and not (args.merge or args.split):
        raise OptionError(
            "there is nothing to edit",
            key="--leave-out, --drop, --keep, --trim, --merge, --split, --rename, --instruction, --fps",
            expected="at least one of them",
            found="none",
            remedy=EXAMPLE,
        )
    if args.split:
        parts = _parts(args)
        for name, record in split_dataset(args.directory, args.out, parts, edit).items():
            _print(record, Path(args.out) / name)
    else:
        _print(edit_dataset(args.directory, args.out, edit, args.merge), Path(args.out))
    return 0


def _left_out(args: argparse.Namespace) -> frozenset[int]:
    """The episodes of ``--leave-out`` and ``--drop``."""
    listed = _numbers("--leave-out", args.leave_out) if args.leave_out is not None else frozenset()
    if not args.drop:
        return listed
    from vla_agent.data.edit.drop_file import dropped_episodes
    from vla_agent.data.lerobot.dataset_reader import read

    return listed | dropped_episodes(args.drop, read(args.directory))


def _print(record: dict[str, Any], out: Path) -> None:
    """What was done, and which images lost an encoding."""
    left_out = ", ".join(map(str, record["left_out"][:40])) or "none"
    left_out += f" and {len(record['left_out']) - 40} more" if len(record["left_out"]) > 40 else ""
    print(f"{out}: {record['episodes']} episodes, {record['frames']:,} frames; left out: {left_out}")
    changed = [f"{len(record['instructions'])} instructions set"] if record["instructions"] else []
    changed += [f"{len(record['renamed'])} instructions renamed"] if record["renamed"] else []
    if rate := record.get("fps"):
        lost = "videos encoded again (lossy)" if record["encoded_again"] else "images copied"
        changed += [f"{rate['from']} -> {rate['to']} Hz, {rate['cut']} frames cut off at ends of episodes; {lost}"]
    for line in changed:
        print(f"  {line}")
    for again in [] if rate else record["encoded_again"]:
        cameras = ", ".join(again["cameras"])
        print(f"  episode {again['episode']}: {cameras} encoded again (lossy): no key frame where it begins now")
    print(f"next: vla-agent data validate {out}")


def _parts(args: argparse.Namespace) -> dict[str, frozenset[int]]:
    """The parts of ``--split``: name -> episodes.

    Raises:
        OptionError: another form, a name twice, an episode in two parts, or options that do not go together.
    """
    for option, given in (("--keep", args.keep), ("--merge", args.merge)):
        if given:
            raise OptionError(
                "these options do not go together",
                key=f"--split, {option}",
                expected="one of the two",
                found="both",
                remedy="run two commands, one after the other",
            )
    parts: dict[str, frozenset[int]] = {}
    for text in args.split:
        name, equals, numbers = text.partition("=")
        if not equals or not NAME.fullmatch(name) or name.casefold() in map(str.casefold, parts):
            raise OptionError(
                "a part has another form, or its name twice",
                key="--split",
                expected="NAME=LIST, such as train=0-39; the name of letters, digits, - and _",
                found=text,
                remedy="write --split train=0-39 --split test=40-49",
            )
        parts[name] = _numbers("--split", numbers)
    twice = sorted(k for k in set().union(*parts.values()) if sum(k in part for part in parts.values()) > 1)
    if twice:
        raise OptionError(
            "an episode is in two parts",
            key="--split",
            expected="each episode in one part at most",
            found=", ".join(map(str, twice)),
            remedy="correct the lists",
        )
    return parts


def _instructions(texts: list[str]) -> dict[int, str]:
    """Episode -> the instruction that ``--instruction`` gives it.

    Raises:
        OptionError: another form, no words, or an episode twice.
    """
    found: dict[int, str] = {}
    for text in texts:
        numbers, equals, instruction = text.partition("=")
        episodes = _numbers("--instruction", numbers) if equals else frozenset()
        if not equals or episodes & found.keys():
            raise OptionError(
                "the instruction of some episodes has another form, or an episode has two",
                key="--instruction",
                expected="LIST=TEXT, such as '3,7-9=open the drawer', each episode once",
                found=text,
                remedy="correct the lists",
            )
        found |= dict.fromkeys(episodes, _sentence("--instruction", instruction))
    return found


def _renames(texts: list[str]) -> dict[str, str]:
    """Instruction -> the one that ``--rename`` puts in its place.

    Raises:
        OptionError: another form, no words, or an instruction twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not equals or old in found:
            raise OptionError(
                "the new instruction has another form, or an instruction has two",
                key="--rename",
                expected="OLD=NEW, each OLD once; one that holds a = is set by --instruction",
                found=text,
                remedy="write --rename 'pick the cup=lift the cup'",
            )
        found[old] = _sentence("--rename", new)
    return found


def _sentence(option: str, text: str) -> str:
    """An instruction without blanks around it.

    Raises:
        OptionError: it has no letters, or holds bytes that are no text.
    """
    words = text.strip()
    if not any(c.isalpha() for c in words) or words.encode(errors="ignore").decode() != words:
        raise OptionError(
            "an instruction has no words",
            key=option,
            expected="a sentence",
            found=ascii(text),
            remedy="say what is done in the episodes",
        )
    return words


def _trims(texts: list[str]) -> dict[int, tuple[int, int]]:
    """Episode -> its first and last frame that are kept.

    Raises:
        OptionError: another form, or an episode twice.
    """
    trims: dict[int, tuple[int, int]] = {}
    for text in texts:
        episode, frames = _trim(text)
        if episode in trims:
            raise OptionError(
                "an episode is trimmed twice",
                key="--trim",
                expected="one range of frames for an episode",
                found=", ".join(texts),
                remedy="write two datasets, one for each range, and join them with --merge",
            )
        trims[episode] = frames
    return trims


def _trim(text: str) -> tuple[int, tuple[int, int]]:
    form = re.fullmatch(r"(\d+):(\d+)-(\d+)", text)
    if not form:
        raise OptionError(
            "the frames to keep have another form",
            key="--trim",
            expected="EPISODE:FIRST-LAST, such as 4:10-85",
            found=text,
            remedy="frames count from 0; FIRST and LAST are kept",
        )
    episode, first, last = map(int, form.groups())
    return episode, (first, last)


def _numbers(option: str, text: str) -> frozenset[int]:
    from vla_agent.cli.learn.data import parse_ranges

    return frozenset(parse_ranges(text, option))
