"""Every example runs from another folder, in its own process, without a traceback; `house-examples` runs each alone."""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path

import forked_program
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
SAYS = {  # what the output of an example has to contain, besides its exit code 0
    "01_run_the_policy": r"\d of 3",
    "02_my_own_task": r"expert succeeded in 2 of 2",
    "03_demonstrations": r"observation\.state: \(\d+, 17\)",
    "04_train": r"a chunk of shape \(16, 7\)",
    "05_finetune_lora_and_compare": r"the adapter: ",
    "06_gate_and_verify": r"before the change: valid; after it: refused",
    "07_lerobot_policy_in_the_harness": r"make lerobot-check|mean over families",
    "08_my_own_environment": r"20 of 20",
    "09_ros2_up": r"exit code 0|rclpy is missing",
    "10_real_rate": r"the truth is 67\.0 %",
}


def run(file: Path, folder: Path, *arguments: str) -> str:
    """Run an example in ``folder``; what it printed."""
    env = dict(os.environ, HOME=str(folder), TMPDIR=str(folder))
    done = forked_program.run([file, *arguments], folder, env)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("file", NUMBERED, ids=lambda file: file.stem)
def test_an_example_runs_from_another_folder(file, tmp_path):
    assert re.search(SAYS[file.stem], run(file, tmp_path))


def test_minimal_runs(tmp_path):
    output = run(EXAMPLES / "minimal.py", tmp_path, "--quick")
    assert re.search(r"instruction as it is: \d of 2", output) and re.search(r"shuffled instruction: \d of 2", output)


def test_the_expert_of_minimal_lifts_what_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    minimal = __import__("minimal")
    env = minimal.Env()
    for seed in range(5):
        env.reset(minimal.np.random.default_rng(seed))
        for _ in range(minimal.LIMIT):
            env.step(minimal.expert(env, seed % 4))
            if any(env.lifted()):
                break
        assert env.lifted() == [k == seed % 4 for k in range(4)]


def test_minimal_imports_nothing_of_this_project():
    tree = ast.parse((EXAMPLES / "minimal.py").read_text())
    names = [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"mujoco", "numpy", "torch"}


def test_examples_are_short():
    for file in NUMBERED:
        assert len(file.read_text().splitlines()) < 60, file.name
    assert len((EXAMPLES / "minimal.py").read_text().splitlines()) <= 300


def test_every_example_has_its_line_in_the_readme():
    readme = (EXAMPLES / "README.md").read_text()
    assert {file.stem for file in NUMBERED} == set(SAYS)
    for file in (*NUMBERED, EXAMPLES / "minimal.py"):
        assert f"]({file.name})" in readme, file.name
