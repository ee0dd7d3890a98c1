"""The window without a browser: what it serves, what it says, how it ends; and the command's refusals."""

from __future__ import annotations

import sys
import threading

import pytest
from websockets.sync.client import connect

from sim.policies import RandomPolicy
from vla_agent.cli import main
from vla_agent.errors import CheckpointError, OptionError
from vla_agent.view.guarded_server import bind
from vla_agent.view.source import Button, Choice, Handle, Slider, TextBox, Toggle
from vla_agent.view.sources.simulator import SimulatorSettings, SimulatorSource
from vla_agent.view.window import Window


def simulator() -> SimulatorSource:
    return SimulatorSource(SimulatorSettings("random", seed=3), RandomPolicy())


def test_geometry_is_served_to_a_viewer_who_comes_later():
    window, end = Window(simulator(), port=0), threading.Event()
    window.start()
    try:
        shown, troubles = window.stepper.wait(30)
        assert shown is not None and not troubles
        window.page.draw(shown)
        with connect(f"ws://127.0.0.1:{window.port}", subprotocols=["viser-v1.1.1"], max_size=None) as viewer:
            sent = 0
            while sent < 150_000:  # bytes: the robot's meshes alone are more
                sent += len(viewer.recv(timeout=10))
        assert window.url == f"http://localhost:{window.port}/"
        end.set()
        window.draw_until(end)
    finally:
        window.stop()
    with pytest.raises(OSError):
        connect(f"ws://127.0.0.1:{window.port}", open_timeout=2)


def test_a_window_whose_source_does_not_open_frees_its_port():
    window = Window(SimulatorSource(SimulatorSettings("no/such/policy")), port=0)
    with pytest.raises(CheckpointError):
        window.start()
    bind("127.0.0.1", window.port).close()


def test_a_busy_port_is_said_before_the_policy_is_loaded():
    with bind("127.0.0.1", 0) as taken, pytest.raises(OptionError, match="--port"):
        Window(SimulatorSource(SimulatorSettings("no/such/policy")), port=taken.getsockname()[1]).start()


def test_the_link_has_the_token_and_a_name_that_others_can_use():
    window = Window(simulator(), "0.0.0.0", 8080, "secret-token-1234")
    window.port = 8080
    assert window.url.endswith(":8080/?token=secret-token-1234") and "0.0.0.0" not in window.url


@pytest.mark.parametrize("options", [["--port", "70000"], ["--port", "-1"], ["--seed", "-1"]])
def test_options_out_of_range_are_bad_input(options, capsys):
    assert main(["view", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_without_the_extra_the_command_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view"]) == 2
    assert "pip install 'vla_agent[view]'" in capsys.readouterr().err


def test_controls_have_one_name_and_one_key_each():
    source = simulator()
    names = [control.name for control in source.controls]
    keys = [control.key for control in source.controls if isinstance(control, Button) and control.key]
    assert len(set(names)) == len(names) and len(set(keys)) == len(keys)
    kinds = {type(control) for control in source.controls}
    assert kinds <= {Button, Choice, Handle, Slider, TextBox, Toggle}
