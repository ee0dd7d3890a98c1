"""The command line: help, suggestions, exit codes, tracebacks only when asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vla_agent import __version__, cli
from vla_agent.errors import OptionError


@pytest.fixture
def command(monkeypatch):
    """Put a module with the given ``run`` in place of the command ``tasks``."""

    def install(run):
        module = types.ModuleType("vla_agent.cli.learn.tasks")
        module.add_parser = lambda subparsers: subparsers.add_parser("tasks").add_argument("--split")
        module.run = run
        monkeypatch.setitem(sys.modules, "vla_agent.cli.learn.tasks", module)

    return install


def test_help_is_fast_and_imports_no_torch():
    code = "import resource, sys; from vla_agent.cli import main\ntry: main(['--help'])\n"
    code += "finally: print(sorted(sys.modules), resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) < 0.5  # CPU seconds, so that a busy machine does not matter; 0.1 is usual
    for heavy in ("torch", "numpy", "mujoco", "rich"):
        assert f"'{heavy}'" not in done.stdout
    assert "vla-agent doctor" in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_each_command_teaches(name, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "example" in shown.lower() and f"vla-agent {name}" in shown
    assert "next" in shown.lower(), "says what to do next"


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"vla-agent {__version__}\n"


def test_no_command_prints_the_help(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 0
    assert "usage: vla-agent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["evl"], "did you mean 'eval'?"),
        (["tasks", "--spilt", "seen"], "did you mean '--split'?"),
        (["up", "sim", "--robott", "x"], "did you mean '--robot'?"),
        (["up", "smi"], "did you mean 'sim'?"),
        (["robot", "chek", "panda"], "did you mean 'check'?"),
        (["zzz"], "valid: tasks,"),
    ],
)
def test_unknown_names_suggest_the_closest(arguments, suggestion, capsys, command):
    command(lambda args: 0)
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2 and suggestion in capsys.readouterr().err


def test_typed_error_is_printed_plainly_with_exit_code_2(capsys, command):
    def run(args):
        raise OptionError("the split is wrong", key="--split", expected="seen", found="sen", remedy="say --split seen")

    command(run)
    assert cli.main(["tasks"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: the split is wrong\n") and "Traceback" not in shown
    assert [line.split(":")[0].strip() for line in shown.splitlines()[1:]] == ["key", "expected", "found", "remedy"]


def test_unexpected_error_keeps_its_traceback_for_debug(capsys, command, monkeypatch):
    monkeypatch.delenv("VLA_AGENT_DEBUG", raising=False)
    command(lambda args: [].pop())
    assert cli.main(["tasks"]) == 3
    shown = capsys.readouterr().err
    assert "unexpected IndexError: pop from empty list" in shown and "--debug" in shown and "Traceback" not in shown
    assert cli.main(["tasks", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("VLA_AGENT_DEBUG", "1")
    assert cli.main(["tasks"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_file_errors_name_the_file(capsys, command, tmp_path):
    (tmp_path / "file").write_text("")
    command(lambda args: (tmp_path / "file" / "below").mkdir())
    assert cli.main(["tasks"]) == 2
    shown = capsys.readouterr().err
    assert str(tmp_path / "file" / "below") in shown and "Not a directory" in shown and "remedy" in shown


def test_interrupt_leaves_with_130(capsys, command):
    def run(args):
        raise KeyboardInterrupt

    command(run)
    assert cli.main(["tasks"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_interrupt_of_a_resumable_command_says_how_to_go_on(capsys, monkeypatch):
    module = types.ModuleType("vla_agent.cli.learn.train")
    module.add_parser = lambda subparsers: subparsers.add_parser("train")

    def run(args):
        raise KeyboardInterrupt

    module.run = run
    monkeypatch.setitem(sys.modules, "vla_agent.cli.learn.train", module)
    assert cli.main(["train"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_doctor_finds_what_evaluation_needs(capsys):
    code = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["status"] for check in report["checks"]}
    assert {"python", "mujoco", "opengl", "torch", "models", "video", "rclpy", "disk", "policy"} == set(states)
    assert code == (0 if report["healthy"] else 1)
    assert states["mujoco"] == states["torch"] == states["video"] == "ok"
    assert states["opengl"] != "fail"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python cannot be told so before 3.11")
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("json", ["doctor", "--json"]),
        ("multiprocessing", ["eval", "expert", "--tasks=press_button", "--episodes=2", "--workers=2", "--out=out"]),
    ],
)
def test_a_module_in_the_folder_where_a_command_is_started_is_not_imported(tmp_path, module, command):
    (tmp_path / f"{module}.py").write_text("open('executed', 'w')\nraise ImportError\n")
    program = Path(sys.executable).with_name("vla-agent")
    subprocess.run([program, *command], cwd=tmp_path, capture_output=True, timeout=120)
    assert not (tmp_path / "executed").exists()


def test_doctor_says_how_to_mend_a_broken_renderer(monkeypatch):
    from vla_agent.cli.machine import doctor

    monkeypatch.setenv("MUJOCO_GL", "bogus")
    check = doctor.check_gl()
    assert check.status == "fail" and "bogus" in check.detail and "libegl1" in check.remedy
