"""What `vla-agent up sim` prints: scene, instruction, progress, success or timeout, each once."""

from __future__ import annotations

from dataclasses import replace

from vla_agent.ros.runtime.sim_progress import EVERY, SimProgress, SimState, read_state

ASKED = "put the red mug in the tray"
START = SimState("put_in_tray, seed 0: red mug, tray", ASKED, 10, 240, False, "starting", "idle", "")


def printed(*states: SimState) -> list[str]:
    progress = SimProgress(0.05, "client")
    return [line for state in states for line in progress.lines(state)]


def acting(steps: int, **changes) -> SimState:
    return replace(START, **({"steps": steps, "policy": "acting", "instruction": ASKED} | changes))


def test_scene_and_instruction_are_shown_and_steps_count_from_the_first_action():
    lines = printed(START, START, acting(100), acting(100 + EVERY - 1), acting(100 + EVERY), acting(100 + EVERY))
    assert lines[:3] == [f"scene {START.scene}", f'the scene asks: "{ASKED}"', "policy: starting"]
    assert f'instruction: "{ASKED}"' in lines and "policy: acting" in lines
    assert lines[-1] == f"control step {EVERY} of 240, 2.0 s of simulation"
    assert len(lines) == 6


def test_success_and_timeout_are_reported_once():
    lines = printed(acting(100), acting(193, success=True), acting(260, success=True), acting(400, success=True))
    assert [line for line in lines if "success" in line] == [
        "success after about 93 control steps, 4.7 s of simulation"
    ]
    lines = printed(acting(100), acting(341), acting(400), acting(600, success=True))
    assert [line for line in lines if "success" in line] == [
        "timeout: no success within 240 control steps; the policy goes on"
    ]
    assert any("client call sim/reset" in line for line in lines)


def test_another_instruction_is_not_judged_by_the_scenes_goal():
    other = {"instruction": "open the drawer"}
    lines = printed(acting(100), acting(150, **other), acting(150 + EVERY, success=True, **other))
    assert 'instruction: "open the drawer"' in lines and not any(line.startswith("success") for line in lines)
    assert "success is not judged" in lines[-1]


def test_a_new_scene_restarts_the_count_and_a_stop_shows_how_to_go_on():
    lines = printed(acting(100), acting(190, success=True), acting(5, scene="stack, seed 1: red cube"), acting(60))
    assert "scene stack, seed 1: red cube" in lines
    lines = printed(acting(100), acting(120, safety="stopped: e-stop: pressed"), acting(130, safety="idle"))
    assert lines[-2:] == ["safety node: stopped: e-stop: pressed", "  to go on: client call safety/reset"]
    stopped = {"safety": "stopped: command: none for 0.1 s"}
    lines = printed(acting(100), acting(120, **stopped), acting(400, **stopped), acting(500), acting(500 + EVERY))
    assert any("--real_time_factor" in line for line in lines)
    assert lines[-1].startswith(f"control step {EVERY} of 240"), "while it is stopped no steps count"


def test_the_state_is_read_from_the_nodes_diagnostics():
    values = {"task": "stack", "seed": "3", "objects": "red cube", "instruction": "stack them", "steps": "7"}
    sim = values | {"limit": "240", "success": "True"}
    messages = {"policy_node": "acting", "safety_node": "running"}
    state = read_state({"sim_robot_node": sim, "policy_node": {"instruction": "stack them"}}, messages)
    assert state == SimState("stack, seed 3: red cube", "stack them", 7, 240, True, "acting", "running", "stack them")
    assert read_state({"policy_node": {}}, messages) is None
