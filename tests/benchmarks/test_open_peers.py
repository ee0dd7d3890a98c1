"""`open-peers`: as many steps as fit into the minutes, and a training that is kept."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.open import open_peers
from benchmarks.open.peer_programs import PROGRAMS


@dataclass
class Timed:
    """A training of 20 s before its first step, and half a second a step."""

    name: str = "timed"
    title: str = "a training"
    batch: int = 8
    steps: list[int] = field(default_factory=list)

    def train(self, data: Path, out: Path, steps: int) -> tuple[float, int]:
        self.steps.append(steps)
        return 20 + 0.5 * steps, 10**9

    def parameters(self, out: Path) -> int:
        return 2_500_000


def test_a_training_has_the_steps_that_fit_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(open_peers, "FOLDER", tmp_path)
    program = Timed()
    row = open_peers.train(program, tmp_path, minutes=2)
    assert program.steps == [open_peers.FEW, open_peers.MORE, 200], "20 s + 200 steps of 0.5 s are two minutes"
    assert row["training minutes"] == pytest.approx(2.0) and row["samples"] == 1600 and row["samples/s"] == 16
    assert row["parameters, M"] == 2.5 and row["memory of training, MB"] == 1000
    assert open_peers.train(program, tmp_path, minutes=2) == row and len(program.steps) == 3


def test_ours_and_three_peers_are_compared_on_the_same_demonstrations():
    assert [p.kind for p in PROGRAMS if p.peer] == ["act", "diffusion", "smolvla"]
    assert not PROGRAMS[0].peer and {p.data for p in PROGRAMS[1:]} == {"plain"}
