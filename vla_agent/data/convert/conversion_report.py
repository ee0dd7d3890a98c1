"""The printed report of a conversion: one line per episode, and one per source that lost messages or has gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import printable

ConvertedEpisode = tuple[Episode | None, dict[str, Any]]  # None where it is left out; and its report
LeaveOut = Callable[[str | int], str | None]  # path of a group or number of an episode -> why it is left out, or None
REPORTED_SECONDS = 0.5  # unused seconds at an episode's ends are reported above this

BEHIND, AHEAD = 0.5, 0.1  # seconds between the clocks of two sources; a camera's pictures come late, never early

UNNAMED = "no table of episodes names this file: its frames are not read"

# Reasons to leave an episode out that the mapping file itself gives.
FAILED, UNENDED = "no success", "no outcome"
NOT_NAMED = "its name does not fit episodes of the mapping file"
EXCLUDED = "exclude of the mapping file names it"

OTHER_SIZE = "crop or resize the pictures alike, or leave this recording out (exclude in the mapping file)"

CHANGES = {"clipped": "values clipped to low and high", "around": "changes of an angle taken the shorter way around"}


def apart_from_hidden(root: Path, found: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Recordings below ``root`` by path, and those that are hidden, or in a hidden folder, with that reason."""
    hidden = {p for p in found if any(part.startswith(".") for part in p.relative_to(root).parts)}
    return sorted(set(found) - hidden), dict.fromkeys(sorted(hidden), "a hidden file or folder")


def other_rate(hz: float) -> str:
    """What to do where a recording has another rate than the mapping."""
    if hz != round(hz):
        return "write the recording again at a whole rate: frames are not resampled, and control_hz is a whole number"
    return f"set control_hz: {hz:g}; frames are not resampled"


def is_complete(report: Mapping[str, Any]) -> bool:
    """Whether nothing was left out but what the mapping file says."""
    return all(entry["left_out"].startswith((FAILED, UNENDED, NOT_NAMED, EXCLUDED)) for entry in report["left_out"])


def told_instructions(tasks: Sequence[str]) -> dict[str, Any]:
    """What a report says of the instructions of an episode's frames: the first, and all where there are several."""
    several = list(dict.fromkeys(tasks))
    return {"instruction": several[0]} | ({"instructions": several} if len(several) > 1 else {})


def episode_lines(episode: Mapping[str, Any]) -> list[str]:
    """An episode's report as lines of text."""
    name = episode["from"] + (f" no. {episode['number']}" if episode.get("number") else "")
    if "left_out" in episode:
        lines = [f"{name}: left out: {episode['left_out']}"]
    else:
        cut = episode.get("periods", episode["frames"]) - episode["frames"]
        lines = [f"{name}: {episode['frames']} frames" + (f" ({cut} cut off)" if cut else "")]
        texts = episode.get("instructions", [episode["instruction"]])
        lines[0] += ", " + ", then ".join(f'"{printable(text)}"' for text in texts)
    if episode.get("takes"):
        lines.append(f"  take {episode['take']} of {episode['takes']}: the clock of the headers began again in between")
    if episode.get("seconds_outside", 0.0) > REPORTED_SECONDS:
        lines.append(f"  {episode['seconds_outside']:.1f} s unused: some source had not started, or had ended")
    if "interventions" in episode:
        lines.append(f"  intervention: {episode['interventions']}")
    for field, counts in episode.get("values", {}).items():
        lines += [f"  {field}: {CHANGES[what]}: {number}" for what, number in counts.items()]
    lines += _clock_lines(episode.get("sources", {}))
    return lines + [
        f"  {source}: {', '.join(problems)}"
        for source, counts in episode.get("sources", {}).items()
        if (problems := _problems(counts))
    ]


def _clock_lines(sources: Mapping[str, Any]) -> list[str]:
    """Sources whose headers seem to come from another clock: their messages are received far later than stated, or
    earlier, compared with the states and actions.  What they hold would stand beside values of another moment."""
    delays = {name: counts["delay"] for name, counts in sources.items() if "delay" in counts}
    first = min((delay for name, delay in delays.items() if not name.startswith("cameras.")), default=0.0)
    return [
        f"  {name}: its headers are {abs(delay - first):.2f} s {'behind' if delay > first else 'ahead of'} the others, "
        "by when they were received: where its clock is another one, set stamps: received"
        for name, delay in delays.items()
        if not -AHEAD <= delay - first <= BEHIND
    ]


def _problems(n: Mapping[str, Any]) -> list[str]:
    """The problems of one source; more messages than needed are not one."""
    problems = [f"{n['gaps']} control periods without a message"] if n["gaps"] else []
    if n["lost"]:
        problems.append(f"about {n['lost']} messages lost at {n['hz']:g} Hz, longest silence {n['silence']:.3f} s")
    if n["repeated"] and n["gaps"] + n["lost"]:
        problems.append(f"{n['repeated']} control periods repeat the previous message")
    if n.get("empty"):
        problems.append(f"{n['empty']} messages without joints skipped")
    if n["out_of_order"]:
        problems.append(f"{n['out_of_order']} messages out of order")
    return problems


def summary_lines(report: Mapping[str, Any], out: object) -> list[str]:
    """The last lines: what was written, what was left out, and the next command."""
    kept, left = report["episodes"], report["left_out"]
    frames = sum(e["frames"] for e in kept)
    more = [] if is_complete(report) else ["exit code 1: not all was taken"]
    more += [f"exclude: {pattern} names nothing here" for pattern in report.get("exclude_without_effect", ())]
    return [
        f"{out}: {len(kept)} episodes, {frames:,} frames; {len(left)} left out (reasons in meta/collection.json)",
        *more,
        f"next: vla-agent data validate {out}",
    ]
