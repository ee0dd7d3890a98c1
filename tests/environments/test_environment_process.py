"""An environment in a process of its own: the same episodes, and a typed error for everything that can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.open.planted_environments import Sound
from vla_agent.environments.check.check import check
from vla_agent.environments.check.probe import Settings
from vla_agent.environments.episode import play_episode
from vla_agent.environments.process import hosted as hosted_module
from vla_agent.environments.process.hosted import HostedEnvironment
from vla_agent.environments.protocol import offered
from vla_agent.environments.scripted import EnvironmentExpert, RandomActions
from vla_agent.errors import EnvironmentFault

FILE = Path(sys.modules["benchmarks.open.planted_environments"].__file__ or "")
SEED = 5_400_000
ODD = """
import os, time
import numpy as np
from vla_agent.contract import Camera, Contract, Field

class Odd:
    contract = Contract((Camera("top", 4, 4),), (Field("x", 1, "m"),), (Field("v", 1, "m"),), 10.0, 4)
    def __init__(self, when=""):
        print("a word between the messages")
        if when == "open":
            raise ValueError("no licence")
        self.when = when
    def tasks(self): return ["die", "hang", "raise", "strange", "ask"]
    def limit(self, task): return 5
    def reset(self, task, seed):
        if task == "die":
            os.write(2, b"last words"); os._exit(7)
        if task == "hang": time.sleep(60)
        if task == "raise": raise RuntimeError("the goal is inside the wall")
        if task == "ask": return input("which folder? ")
        return object() if task == "strange" else "go"
    def observe(self, images=True): return {"state": np.zeros(1, np.float32)}
    def step(self, action): return False
    def close(self): pass
"""


@pytest.fixture(scope="module")
def hosted():
    environment = HostedEnvironment(Path(sys.executable), f"{FILE}:Sound", {})
    yield environment
    environment.close()


@pytest.fixture
def odd(tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    environment = HostedEnvironment(Path(sys.executable), f"{tmp_path / 'odd.py'}:Odd", {})
    yield environment
    environment.close()


def test_episodes_are_those_of_the_same_environment_in_this_process(hosted):
    here = Sound()
    assert hosted.contract == here.contract and set(offered(hosted)) == set(offered(here))
    for make in (lambda env: RandomActions(env.contract), EnvironmentExpert):
        mine, theirs = (play_episode(env, make(env), "go_blue", SEED) for env in (hosted, here))
        assert (mine.success, mine.steps, mine.image_hash, mine.state_hash) == (
            theirs.success, theirs.steps, theirs.image_hash, theirs.state_hash,
        )  # fmt: skip
        assert mine.actions.tobytes() == theirs.actions.tobytes()
    assert isinstance(hosted.observe()["images"]["top"].flags.writeable, bool)
    hosted.observe()["images"]["top"][:] = 0  # a copy, which may be changed


def test_the_checker_works_across_the_border():
    found = check(
        lambda: HostedEnvironment(Path(sys.executable), f"{FILE}:Sound", {"fault": "images are upside down"}),
        Settings(steps=4),
    )
    assert [finding.check for finding in found] == ["image.direction"]


def test_an_error_in_the_environment_is_told_and_the_process_lives_on(odd):
    with pytest.raises(EnvironmentFault, match="inside the wall") as error:
        odd.reset("raise", 0)
    assert error.value.file.startswith(str(odd._place.rpartition(":")[0]))
    with pytest.raises(EnvironmentFault, match="EOF"):
        odd.reset("ask", 0)  # a question of a benchmark gets no answer, and does not wait for one
    with pytest.raises(EnvironmentFault, match="cannot be sent"):
        odd.reset("strange", 0)
    assert odd.reset("go", 0) == "go" and odd.step(np.zeros(1)) is False


def test_a_process_that_dies_or_hangs_is_named_with_its_last_words(odd, monkeypatch):
    monkeypatch.setattr(hosted_module, "ANSWERS_WITHIN", 0.5)
    with pytest.raises(EnvironmentFault, match="last words") as error:
        odd.reset("die", 0)
    assert "exit code 7" in str(error.value)
    with pytest.raises(EnvironmentFault, match="is closed"):
        odd.tasks()
    again = HostedEnvironment(Path(sys.executable), odd._place, {})
    with pytest.raises(EnvironmentFault, match="does not answer"):
        again.reset("hang", 0)


def test_what_cannot_be_opened_says_why(tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    place = f"{tmp_path / 'odd.py'}:Odd"
    for options, text in (({"when": "open"}, "no licence"), ({"size": "3"}, "other options")):
        with pytest.raises(EnvironmentFault, match=text):
            HostedEnvironment(Path(sys.executable), place, options)
