"""Half an hour of the page: whether the process that serves it, or the browser's tab, grows.

A script in the page presses the keys.  WebDriver, asked once a second, would fill the tab's heap itself: every question
leaves compiled code there.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.view.browser_tab import Tab, driver
from benchmarks.view.view_latency import SIZE
from benchmarks.view.window_process import WindowProcess, window_process

NAME = "view-soak"
TITLE = "Growth of server or tab in 30 minutes of episodes, after the first 5"
TARGET = 5.0
UNIT = "%"
BETTER = "lower"
MINUTES, WARM, EVERY = 30.0, 5.0, 0.5  # minutes
EPISODES = 1.0  # begun a minute, at least: a page where nothing happens does not grow
HEAP = "JSHeapUsedSize"
# The next scene, and start, whenever no episode runs.
PLAY = """
window.episodes = 0;
const press = (key, code) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, code, bubbles: true}));
const time = () => [...document.querySelectorAll(".view tr")]
  .find(r => r.querySelector("th").textContent === "time")?.querySelector("td").textContent ?? "";
let drawn = false;
setInterval(() => {
  const status = document.querySelector(".view-status")?.textContent ?? "";
  if (status.includes("running") || status.includes("holds still")) {
    window.episodes += drawn;
    drawn = false;
    return;
  }
  document.activeElement?.blur();
  if (drawn && parseFloat(time()) === 0) press(" ", "Space");
  else press("n", "KeyN");
  drawn = true;
}, 1000);
"""


def run(minutes: float = MINUTES, warm: float = WARM) -> dict[str, Any]:
    """Memory of both every half minute; growth is that of the fitted line, from the warm-up's end to the end."""
    with window_process("--seed", "100") as served:
        chrome = driver(*SIZE)
        try:
            tab = Tab(chrome, served.url)
            tab.open()
            chrome.execute_cdp_cmd("Performance.enable", {})
            samples, episodes = _watch(tab, served, minutes)
        finally:
            chrome.quit()
    growth = {name: _growth(samples[:, 0], samples[:, k], warm) for k, name in ((1, "server"), (2, "tab's heap"))}
    worst = max(growth, key=lambda name: growth[name])
    rows = [
        {"what": name, "growth, %": round(growth[name], 2)}
        | {f"MB at {when}": round(float(samples[at, k]), 1) for when, at in (("the start", 0), ("the end", -1))}
        for k, name in ((1, "server"), (2, "tab's heap"))
    ]
    return {
        "value": round(max(0.0, growth[worst]), 2),
        "n": len(samples),
        "interval": None,
        "seeds": "scenes from 100",
        "rows": rows,
        "passed": max(growth.values()) <= TARGET and episodes >= EPISODES * minutes,
        "notes": f"{minutes:g} minutes, {episodes} episodes of the shipped policy.  Resident memory of the server; the "
        f"tab's JavaScript heap after a collection.  The line is fitted from minute {warm:g} on.",
    }


def _watch(tab: Tab, served: WindowProcess, minutes: float) -> tuple[np.ndarray, int]:
    """(N, 3): minute, MB of the server, MB of the tab's heap; and how many episodes began."""
    tab.chrome.execute_script(PLAY)
    began = time.monotonic()
    samples: list[tuple[float, float, float]] = []
    while (now := (time.monotonic() - began) / 60) < minutes or len(samples) < 3:
        tab.chrome.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        metrics = tab.chrome.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        heap = next(m["value"] for m in metrics if m["name"] == HEAP) / 2**20
        samples.append((now, served.memory(), heap))
        time.sleep(60 * EVERY)
    return np.array(samples), int(tab.chrome.execute_script("return window.episodes"))


def _growth(minutes: np.ndarray, memory: np.ndarray, warm: float) -> float:
    """Percent of the memory at the end of the warm-up by which the fitted line rises until the end."""
    kept = minutes >= warm if (minutes >= warm).sum() > 2 else np.ones(len(minutes), bool)
    slope, start = np.polyfit(minutes[kept], memory[kept], 1)
    first = start + slope * minutes[kept][0]
    return float(100 * slope * (minutes[kept][-1] - minutes[kept][0]) / first)
