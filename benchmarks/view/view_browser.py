"""Everything that a person can do in the page, done in a real browser, with what must come of it."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT
from benchmarks.view.actions import ACTIONS, DESKTOP
from benchmarks.view.browser_tab import Tab, driver
from benchmarks.view.window_process import WindowProcess, window_process

NAME = "view-browser"
TITLE = "User actions of `vla-agent view` that do what they should, in headless Chromium"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
SCREENSHOTS = ROOT / "runs" / "bench" / "view-browser"
TOKEN = "a-token-for-this-benchmark"
ENDINGS = ("a link without the token is refused", "the link's token leaves the address", "Ctrl-C ends it with 0")


def run() -> dict[str, Any]:
    """Play every action on the shipped policy, in order, in one tab; then who may come in, and how it ends."""
    outcomes: dict[str, str] = {}
    token = _token_file()
    with window_process("--seed", "3", "--token-file", str(token)) as served:
        chrome = driver(*DESKTOP)
        try:
            outcomes |= play(Tab(chrome, served.url), SCREENSHOTS)
            outcomes[ENDINGS[1]] = "" if TOKEN not in chrome.current_url else chrome.current_url
        finally:
            chrome.quit()
        outcomes[ENDINGS[0]] = _without_token(served)
        code = served.end()
        outcomes[ENDINGS[2]] = "" if code == 0 else f"exit code {code}"
    passed = sum(not fault for fault in outcomes.values())
    return {
        "value": passed / len(outcomes),
        "n": len(outcomes),
        "interval": None,
        "seeds": "scenes from 3",
        "rows": [{"action": name, "outcome": fault or "as it should"} for name, fault in outcomes.items()],
        "notes": "The shipped policy acts in the simulator.  Chromium draws WebGL in software, the 3-D view in a "
        "seventh of its pixels.  Each action waits for its effect on the page, 60 s at most.",
        "passed": passed == len(outcomes) and len(outcomes) >= 40,
    }


def play(tab: Tab, screenshots: Path, names: tuple[str, ...] = tuple(ACTIONS)) -> dict[str, str]:
    """Action -> what was wrong; empty where nothing was.  A screenshot is kept of what failed."""
    outcomes = {}
    for name in names:
        began = time.monotonic()
        try:
            ACTIONS[name](tab)
            outcomes[name] = ""
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:400]
            tab.screenshot(screenshots / f"{name.replace(' ', '-').replace(',', '')}.png")
        print(f"{time.monotonic() - began:6.1f} s  {name}: {outcomes[name] or 'ok'}", file=sys.stderr, flush=True)
    return outcomes


def _token_file() -> Path:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN, encoding="ascii")
    return file


def _without_token(served: WindowProcess) -> str:
    try:
        with urllib.request.urlopen(served.url.partition("?")[0], timeout=20) as answer:
            return f"served with {answer.status}"
    except urllib.error.HTTPError as error:
        return "" if error.code == 403 else f"code {error.code}"
