"""Names of environments, Gymnasium files, and Pythons of their own."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from vla_agent.cli import main
from vla_agent.environments import names
from vla_agent.environments.check.check import check
from vla_agent.environments.names import absolute, place_of
from vla_agent.environments.opening import open_environment
from vla_agent.environments.own import own_python
from vla_agent.environments.own.installation import install, missing_packages
from vla_agent.environments.own.own_python import PINS, own_folder, python_of, read_pins
from vla_agent.errors import ContractError, EnvironmentFault, OptionError

FOLDER = Path(__file__).parents[2] / "vla_agent" / "environments" / "adapters"
SQUARES = (FOLDER / "squares.yaml").read_text()


def write(folder: Path, old: str = "", new: str = "") -> str:
    (folder / "squares.py").write_text((FOLDER / "squares.py").read_text())
    assert old in SQUARES
    (folder / "mine.yaml").write_text(SQUARES.replace(old, new) if old else SQUARES)
    return str(folder / "mine.yaml")


def test_names_lead_to_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("metaworld").own == "metaworld" and place_of("squares").own is None
    assert place_of("mine.py:World").opened == f"{tmp_path}/mine.py:World"
    assert place_of("metaworld@mine.py:World").own == "metaworld"
    assert absolute("metaworld@mine.py:World") == f"metaworld@{tmp_path}/mine.py:World"
    assert absolute("metaworld") == "metaworld" and absolute("package.module:World") == "package.module:World"
    with pytest.raises(OptionError, match="did you mean libero"):
        place_of("librero")


def test_an_installed_package_makes_its_environment_known(monkeypatch):
    point = EntryPoint("mine", "benchmarks.open.planted_environments:Sound", "vla_agent.environments")
    monkeypatch.setattr(names, "entry_points", lambda group: [point])
    assert place_of("mine").opened == point.value
    environment = open_environment("mine", {}).environment
    assert environment.reset("go_red", 0) == "go to the red square"


def test_a_plain_gymnasium_environment_needs_its_file_and_nothing_else(tmp_path):
    place = write(tmp_path)
    environment = open_environment(place, {}).environment
    assert environment.tasks() == ["go_to_square"] and environment.limit("go_to_square") == 60
    assert environment.reset("go_to_square", 3).startswith("go to the ")
    observation = environment.observe()
    environment.contract.check_observation(observation)
    assert environment.step(np.zeros(2, np.float32)) is False
    environment.close()
    assert check(lambda: open_environment(place, {}).environment) == []


def test_nothing_moves_after_an_episode_that_ended_without_success(tmp_path):
    place = write(tmp_path, "success: terminated", "success: info.done")
    file = tmp_path / "squares.py"
    file.write_text(file.read_text().replace("float(done), done, False, {}", "0.0, False, True, {'done': False}"))
    environment = open_environment(place, {}).environment
    environment.reset("go_to_square", 3)
    environment.step(np.ones(2, np.float32))
    before = environment.observe()["state"].copy()
    assert environment.step(np.ones(2, np.float32)) is False
    assert (environment.observe()["state"] == before).all()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("limit: 60", "limit: 0", "limit"),
        ("limit: 60", "", "limit"),
        ("limit: 60", "limit: 60\nframes: 3", "frames"),
        ("success: terminated", "success: done", "success"),
        ("success: terminated", "success: info.won", "success"),
        ("tasks: {go_to_square: ~}", "tasks: []", "tasks"),
        ("limit: 60", "limit: 60\nkeys: {side: top}", "keys"),
        ("limit: 60", "limit: 60\nkeys: {top: images.top}", "keys.top"),
        ("size: 2, unit: pixel per period", "size: 3, unit: pixel per period", "contract.action"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path, old, new, key):
    with pytest.raises(EnvironmentFault) as error:
        environment = open_environment(write(tmp_path, old, new), {}).environment
        environment.reset("go_to_square", 0)
        environment.observe()
        environment.step(np.zeros(2, np.float32))
    assert error.value.key == key and error.value.remedy


def test_a_contract_that_is_none_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(
        "class World:\n    contract = {'cameras': []}\n"
        + "".join(f"    def {n}(self, *a): ...\n" for n in ("tasks", "limit", "reset", "observe", "step", "close"))
    )
    with pytest.raises(EnvironmentFault, match="contract is none"):
        open_environment(f"{tmp_path}/mine.py:World", {})


def test_a_wrong_contract_a_missing_module_and_a_bare_gymnasium_class_are_refused(tmp_path):
    with pytest.raises(ContractError):
        open_environment(write(tmp_path, "control_hz: 10", "control_hz: -1"), {})
    for name, text in (
        (write(tmp_path, "gymnasium: squares.py:Squares", "gymnasium: nobody/Nothing-v0"), "cannot be made"),
        (f"{tmp_path}/squares.py:Squares", "YAML file"),
        (f"{tmp_path}/squares.py:Square", "did you mean Squares"),
        ("no_such_package.at_all:World", "cannot be imported"),
        (f"{tmp_path}/nothing.py:World", "no such file"),
    ):
        with pytest.raises(EnvironmentFault, match=text):
            open_environment(name, {})


def test_adapters_are_short_enough_to_copy_and_meta_world_has_its_fifty_sentences():
    for file in (*FOLDER.glob("*.py"), *FOLDER.glob("*.yaml")):
        assert len(file.read_text().splitlines()) <= 120, file.name
    groups = json.loads((FOLDER / "metaworld_tasks.json").read_text())
    assert {name: len(tasks) for name, tasks in groups.items()} == {"easy": 28, "medium": 11, "hard": 6, "very_hard": 5}
    assert len({text for tasks in groups.values() for text in tasks.values()}) == 50


@pytest.mark.parametrize("name", ["metaworld", "pusht"])
def test_an_installed_benchmark_repeats_its_episodes(name):
    if not own_python.is_ready(name):
        pytest.skip(f"not installed: vla-agent env setup {name}")
    environment = open_environment(name, {"size": "60"} if name == "metaworld" else {}).environment
    task = environment.tasks()[0]
    seen = []
    for seed in (5_400_000, 5_400_001, 5_400_000):
        assert environment.reset(task, seed)
        environment.step(np.ones(environment.contract.action_dim, np.float32))
        seen.append(
            environment.observe(images=False)["state"].tobytes()
            + environment.observe()["images"].popitem()[1].tobytes()
        )
    environment.contract.check_observation(environment.observe())
    environment.close()
    assert seen[0] == seen[2] != seen[1]


@pytest.fixture
def taught():
    """Meta-World, as demonstrations are collected of it."""
    if not own_python.is_ready("metaworld"):
        pytest.skip("not installed: vla-agent env setup metaworld")
    place = "vla_agent.environments.adapters.metaworld_demonstrations:MetaWorldDemonstrations"
    environment = open_environment(f"metaworld@{place}", {"size": "120"}).environment
    environment.reset("reach-v3", 900_000)
    yield environment
    environment.close()


def test_meta_world_points_at_the_mark_of_the_goal_in_its_image(taught):
    image, (_, goal) = taught.observe()["images"]["corner2"], taught.annotations()["points"]["corner2"]
    column, row = (goal[:2] * 120).astype(int)
    red, green, blue = image[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))
    assert goal[2] == 1 and red > 150 and max(green, blue) < 60


def test_demonstrations_of_meta_world_differ_little_from_what_is_evaluated(taught):
    shipped = open_environment("metaworld", {"size": "120"}).environment
    shipped.reset("reach-v3", 900_000)
    images = [one.observe()["images"]["corner2"].astype(float) for one in (shipped, taught)]
    shipped.close()
    assert 0 < np.abs(images[0] - images[1]).mean() < 2


def test_an_image_of_meta_world_has_a_size_that_divides_what_is_rendered():
    if not own_python.is_ready("metaworld"):
        pytest.skip("not installed: vla-agent env setup metaworld")
    with pytest.raises(EnvironmentFault, match="divisor of 480"):
        open_environment("metaworld", {"size": "128"})


def test_every_shipped_list_pins_every_package():
    for file in PINS.glob("*.txt"):
        pins = read_pins(file.stem)
        assert len(pins.packages) > 5 and "MB" in pins.about and any("numpy==" in p for p in pins.packages)
        assert any("msgpack==" in p for p in pins.packages) and not any(p.startswith("torch") for p in pins.packages)


def wheel(folder: Path, name: str) -> None:
    """A package of one module, as a wheel."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_an_interrupted_installation_goes_on_and_is_not_used_before_its_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_ENVIRONMENTS", str(tmp_path / "own"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for name in ("tiny_one", "tiny_two"):
        wheel(tmp_path, name)
    (tmp_path / "pins.txt").write_text("# two packages: 1 kB\ntiny-one==1.0\ntiny_two==1.0\n")
    pins = read_pins("mine", tmp_path / "pins.txt")
    with pytest.raises(EnvironmentFault, match="env setup mine"):
        python_of("mine")

    def stop(package, done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install("mine", pins, stop)
    assert missing_packages(own_folder("mine"), pins.packages) == ["tiny_two==1.0"]
    with pytest.raises(EnvironmentFault, match="unfinished"):
        python_of("mine")
    assert main(["env", "setup", "mine", "--pins", str(pins.file)]) == 0
    assert "1 of 2 packages" in capsys.readouterr().out
    assert python_of("mine").exists()
    site = next(own_folder("mine").glob("lib/python*/site-packages"))
    assert (site / "vla_agent" / "environments").is_dir() and not (site / "torch").exists()


def test_a_package_that_is_nowhere_and_a_loose_list_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_AGENT_ENVIRONMENTS", str(tmp_path / "own"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "pins.txt").write_text("tiny-one==1.0\n")
    with pytest.raises(EnvironmentFault, match="tiny-one==1.0"):
        install("mine", read_pins("mine", tmp_path / "pins.txt"))
    (tmp_path / "pins.txt").write_text("tiny-one>=1.0\n")
    with pytest.raises(EnvironmentFault, match="pin nothing"):
        read_pins("mine", tmp_path / "pins.txt")
    with pytest.raises(OptionError, match="metaworld"):
        read_pins("metawrld")
    with pytest.raises(OptionError):
        own_python.own_folder("../elsewhere")


def test_the_commands_list_and_show(capsys):
    assert main(["env", "list"]) == 0 and "metaworld" in capsys.readouterr().out
    assert main(["env", "show", "squares"]) == 0
    said = capsys.readouterr().out
    assert "position[2] pixel" in said and "lacks   expert" in said
    assert main(["env", "show", "tabletop"]) == 0 and "put_in_tray" in capsys.readouterr().out
    assert main(["env", "show", f"{sys.executable}.py:World"]) == 2
