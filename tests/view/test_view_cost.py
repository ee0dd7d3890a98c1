"""What `view-cost` rests on: viewers that take what a real page sends, and the comparison with control without."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("viser")

from benchmarks.view.view_cost import Load, result, summary, worse  # noqa: E402
from vla_agent.view.source import Command, Control, Frame, Part, Scene, Status  # noqa: E402
from vla_agent.view.window import Window  # noqa: E402

LOAD = Load(messages=20.0, megabytes=0.5, processor=0.2)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


class Counting:
    """A triangle that moves in every step."""

    title = "a triangle"
    hz = 20.0
    controls: tuple[Control, ...] = ()

    def __init__(self) -> None:
        self._scene = Scene((Part("link", CORNERS, np.array([[0, 1, 2]], np.int32), (1.0, 0.0, 0.0, 1.0)),))
        self._step = 0

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def command(self, command: Command) -> None:
        raise AssertionError("it has no controls")

    def step(self) -> Frame:
        self._step += 1
        pose = np.array([0.01 * self._step, 0, 0, 1, 0, 0, 0.0])
        return Frame(time.time(), Status(f"step {self._step}"), self._scene, {"link": pose})


def test_viewers_take_what_a_page_sends():
    window, end = Window(Counting(), port=0), threading.Event()
    window.start()
    drawing = threading.Thread(target=window.draw_until, args=(end,))
    drawing.start()
    words = [sys.executable, "-m", "benchmarks.view.viewers", window.url, "2"]
    crowd = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert crowd.stdout is not None
        counts = [json.loads(crowd.stdout.readline())]
        deadline = time.monotonic() + 60
        while len(counts) < 2 or counts[-1]["messages"] < counts[0]["messages"] + 10:
            assert time.monotonic() < deadline, counts
            counts.append(json.loads(crowd.stdout.readline()))
        assert counts[-1]["viewers"] == window.viewers == 2
        assert counts[-1]["bytes"] > counts[0]["bytes"] + 1000
    finally:
        crowd.send_signal(signal.SIGTERM)
        crowd.wait()
        end.set()
        drawing.join()
        window.stop()


def test_the_worse_of_rate_and_jitter_counts():
    rng = np.random.default_rng(0)
    plain = [0.05 + rng.normal(0, 0.0005, 200) for _ in range(4)]
    slower = [block * 1.02 for block in plain]
    rate, _ = worse(summary(slower, 0.05), summary(plain, 0.05))
    assert rate == pytest.approx(100 * (1 - 1 / 1.02))
    shaken = [0.05 + 1.1 * (block - 0.05) for block in plain]
    rate, jitter = worse(summary(shaken, 0.05), summary(plain, 0.05))
    assert abs(rate) < 0.1 and jitter == pytest.approx(10)
    found = result(list(zip(shaken, plain, strict=True)), [LOAD], 0.05, 1, 5)
    assert found["value"] == pytest.approx(10) and found["n"] == 1600
    assert found["interval"][0] <= 10 <= found["interval"][1] and found["seeds"] == "1200 to 1204"
