"""The checker names every planted fault, and finds nothing in sound environments."""

from __future__ import annotations

import pytest

from benchmarks.open.planted_environments import FAULTS, Sound
from vla_agent.cli import main
from vla_agent.environments.check.check import check
from vla_agent.environments.check.probe import Settings


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_with_a_remedy(fault):
    findings = {finding.check: finding for finding in check(lambda: Sound(fault), Settings(steps=12))}
    assert FAULTS[fault] in findings
    assert findings[FAULTS[fault]].error and findings[FAULTS[fault]].remedy and findings[FAULTS[fault]].found


@pytest.mark.parametrize("steps", [4, 20])
def test_nothing_is_found_in_a_sound_one(steps):
    assert check(Sound, Settings(steps=steps)) == []


def test_an_environment_without_tasks_and_one_that_raises_are_findings():
    class Empty(Sound):
        def tasks(self):
            return []

    class Raising(Sound):
        def observe(self, images=True):
            raise ValueError("no camera")

    assert [f.check for f in check(Empty)] == ["tasks"]
    assert any("no camera" in f.found for f in check(Raising))
    assert [f.check for f in check(lambda: type("Half", (), {"close": lambda self: None})())] == ["protocol"]


def test_the_command_says_what_is_wrong_and_how_to_mend_it(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from benchmarks.open.planted_environments import Sound\n"
        "def faulty():\n    return Sound('images are upside down')\n"
    )
    assert main(["env", "check", f"{file}:Sound", "--steps", "4"]) == 0
    assert "no findings" in capsys.readouterr().out
    assert main(["env", "check", f"{file}:faulty", "--steps", "4"]) == 1
    assert "image.direction" in (said := capsys.readouterr().out) and "image[::-1]" in said
    assert main(["env", "check", f"{file}:fault"]) == 2
    assert "did you mean faulty" in capsys.readouterr().err
