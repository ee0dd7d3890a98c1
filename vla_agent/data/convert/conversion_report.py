"""What a conversion tells: each episode in a line, with every source that lost messages or left gaps below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOLD = 0.5  # seconds at an episode's ends from which on they are told


def episode_lines(episode: Mapping[str, Any]) -> list[str]:
    """An episode's report as lines of text."""
    name = episode["from"] + (f" no. {episode['number']}" if episode.get("number") else "")
    if "left_out" in episode:
        lines = [f"{name}: left out: {episode['left_out']}"]
    else:
        cut = episode.get("periods", episode["frames"]) - episode["frames"]
        lines = [f"{name}: {episode['frames']} frames" + (f" ({cut} cut off)" if cut else "")]
        lines[0] += f', "{episode["instruction"]}"'
    if episode.get("seconds_outside", 0.0) > TOLD:
        lines.append(f"  {episode['seconds_outside']:.1f} s unused in which some source has not begun, or has ended")
    return lines + [
        f"  {source}: {', '.join(told)}"
        for source, numbers in episode.get("sources", {}).items()
        if (told := _told(numbers))
    ]


def _told(n: Mapping[str, Any]) -> list[str]:
    """What is not as it should be; nothing is said of messages that come more often than they are needed."""
    told = [f"{n['gaps']} control periods without a message"] if n["gaps"] else []
    if n["lost"]:
        told.append(f"about {n['lost']} messages lost at {n['hz']:g} Hz, longest silence {n['silence']:.3f} s")
    if n["repeated"] and n["gaps"] + n["lost"]:
        told.append(f"{n['repeated']} control periods repeat the message before")
    if n["out_of_order"]:
        told.append(f"{n['out_of_order']} messages out of order")
    return told


def summary_lines(report: Mapping[str, Any], out: object) -> list[str]:
    """The last lines: what was written, what was left out, and what to do next."""
    kept, left = report["episodes"], report["left_out"]
    frames = sum(e["frames"] for e in kept)
    return [
        f"{out}: {len(kept)} episodes, {frames:,} frames; {len(left)} left out (meta/collection.json says why)",
        f"next: vla-agent data validate {out}",
    ]
