"""The page of one result: scores with intervals, and every stratum's counts.  One file, nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vla_agent.leaderboard.frozen_suite import Suite

HEAD = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #8884}}</style>
"""


def title_of(result: Mapping[str, Any]) -> str:
    """The policy's name, and its control."""
    policy = result["policy"]
    return f"{policy['name']}" + (f" ({policy['control']})" if policy["control"] else "")


def percent(rate: float, interval: list[float]) -> str:
    """A rate with its 95 % interval, in per cent."""
    low, high = interval
    return f"{100 * rate:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def summary(result: Mapping[str, Any]) -> str:
    """The scores in four lines."""
    found = result["scores"]
    lines = [
        f"{title_of(result)} on {result['suite']['name']}: score {percent(found['score'], found['interval'])} of 100"
    ]
    for part, of in found["parts"].items():
        k, n = (sum(counts[i] for counts in of["strata"].values()) for i in (0, 1))
        lines.append(f"  {part:<11}{percent(of['rate'], of['interval'])}   {k} of {n} episodes")
    return "\n".join(lines)


def page(result: Mapping[str, Any], suite: Suite) -> str:
    """The page."""
    found, title = result["scores"], escape(f"{title_of(result)} on {suite.name}")
    lines = [HEAD.format(title=title), f"<h1>{title}</h1>"]
    lines.append(f"<p>score {percent(found['score'], found['interval'])} of 100; suite {suite.sha256}</p>")
    for part, of in found["parts"].items():
        lines.append(f"<h2>{part} {percent(of['rate'], of['interval'])}</h2><table>")
        lines += [f"<tr><td>{escape(name)}<td>{k} of {n}" for name, (k, n) in of["strata"].items()]
        lines.append("</table>")
    return "\n".join(lines) + "\n"
