"""Recorded episodes in the window: simulated again bit for bit, side by side, scrubbed, with what a policy would do."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")
pytest.importorskip("rosbags")

from vla_agent.cli import main  # noqa: E402
from vla_agent.cli.judge.viewed import EPISODE, write_for_rerun  # noqa: E402
from vla_agent.data.browse.shown import Signal  # noqa: E402
from vla_agent.errors import OptionError, ReportError  # noqa: E402
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate  # noqa: E402
from vla_agent.evaluation.result_store import read_report  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.view.source import Command, Frame  # noqa: E402
from vla_agent.view.sources.episode import EpisodeSettings, EpisodeSource  # noqa: E402
from vla_agent.view.sources.lanes.lane import Place, Track, frames_at, own_frame, signal_plot  # noqa: E402

TASK = Path("sim/tasks/tabletop/press_button.yaml")
ROBOT = load_robot("panda")
NAMES = [*ROBOT.joint_names, ROBOT.gripper.joint]


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """Evaluations on the seeds 3, 4 and 4 of a family with little time."""
    folder = tmp_path_factory.mktemp("reports")
    task = folder / "press_button.yaml"
    lines = TASK.read_text().splitlines()
    task.write_text("\n".join("time_limit: 60" if line.startswith("time_limit") else line for line in lines) + "\n")
    for policy, seed in (("expert", 3), ("random", 4)):
        settings = EvaluationSettings(policy, str(task), episodes=5 - seed, seed=seed, controls="none")
        evaluate(replace(settings, out=folder / policy))
    return {policy: folder / policy for policy in ("expert", "random")}


@contextmanager
def opened(path: Path, **settings: object) -> Iterator[EpisodeSource]:
    source = EpisodeSource(EpisodeSettings(path, **settings))  # type: ignore[arg-type]
    source.open()
    with closing(source):
        yield source


def frame_of(source: EpisodeSource, name: str = "", value: object = None) -> Frame:
    """The frame after a command."""
    if name:
        source.command(Command(name, value))  # type: ignore[arg-type]
    frame = source.step()
    assert frame is not None
    return frame


def test_an_evaluations_episode_is_scrubbed_bit_for_bit(reports):
    rows = read_report(reports["expert"] / "report.json")["episodes"]
    with opened(reports["expert"], episode=1) as source:
        first = frame_of(source)
        assert "Shown" not in {getattr(c, "group", "") for c in source.controls}, "the page has a folder of that name"
        assert source.step() is None, "it stands still"
        steps = rows[1]["steps"]
        last = frame_of(source, "frame", float(steps))
        assert last.facts["replayed"] == "bit for bit" and source.finished
        assert last.status.text.startswith("the end") and last.values["frame"] == steps
        again = frame_of(source, "reset")
        assert all((a == first.poses[body]).all() for body, a in again.poses.items())
        assert [p.name for p in again.pictures] == ["front", "wrist"]
        assert all((a.image == b.image).all() for a, b in zip(again.pictures, first.pictures, strict=True))
        assert not np.allclose(first.poses["link7"], last.poses["link7"])
        executed, ahead, *_ = last.paths
        assert len(executed.points) == steps + 1 and len(ahead.points) == 1
        assert {part.body for part in last.scene.parts} <= set(last.poses) and last.scene is first.scene


def test_it_plays_at_a_speed_pauses_steps_and_changes_the_episode(reports):
    with opened(reports["expert"]) as source:
        frame_of(source)
        frame_of(source, "speed", "2")
        seen = [frame_of(source, "start").values["frame"], *(frame_of(source).values["frame"] for _ in range(3))]
        assert seen == [0, 2, 4, 6]
        assert frame_of(source, "start").status.text.startswith("paused")
        assert source.step() is None
        assert [frame_of(source, name).values["frame"] for name in ("forward", "back", "back")] == [7, 6, 5]
        choice = next(control for control in source.controls if control.name == "episode")
        assert choice.value.startswith("0: press_button 3") and len(choice.options) == 2  # type: ignore[union-attr]
        assert frame_of(source, "next").facts["seed"] == "4"
        assert frame_of(source, "episode", choice.options[0]).facts["seed"] == "3"  # type: ignore[union-attr]
        plot = frame_of(source, "state", "state gripper").plots[1]
        assert plot.title == "state gripper" and np.isfinite(plot.lines["now"]).sum() == 2
        with pytest.raises(OptionError, match="no such episode"), opened(reports["expert"], episode=9):
            pass


def test_an_episode_is_written_for_rerun(reports, tmp_path):
    pytest.importorskip("rerun")
    args = Namespace(rerun=tmp_path / "episode.rrd", seconds=0.32)
    source = EpisodeSource(EpisodeSettings(reports["expert"], 1))
    assert write_for_rerun(EPISODE, source, args, lambda: False) == 7
    assert args.rerun.stat().st_size > 50_000


def test_two_policies_stand_side_by_side_on_the_same_seed_and_so_does_the_expert(reports):
    with opened(reports["random"], against=str(reports["expert"])) as source:
        frame = frame_of(source, "frame", 5.0)
        assert frame.facts["A: seed"] == frame.facts["B: seed"] == "4"
        assert [p.name for p in frame.pictures] == ["A front", "A wrist", "B front", "B wrist"]
        a, b = frame.poses["A/link0"], frame.poses["B/link0"]
        assert b[1] - a[1] == pytest.approx(1.3)
        lines = frame.plots[0].lines
        assert {"A 0", "B 0"} <= set(lines) and len({len(line) for line in lines.values()}) == 1
        expert = frame.poses["B/link7"]
    with opened(reports["random"], against="expert") as source:
        frame = frame_of(source, "frame", 5.0)
        assert np.allclose(frame.poses["B/link7"], expert), "the expert is the expert"
        assert frame.facts["B: expert"].endswith("success")


def test_a_dataset_shows_its_robot_and_what_a_policy_would_do(tmp_path):
    out = tmp_path / "demos"
    assert main(["collect", "--tasks", "press_button", "--episodes", "1", "--seed", "1000003", "-o", str(out)]) == 0
    with opened(out, policy="policies/tabletop-nano") as source:
        frame = frame_of(source, "frame", 8.0)
        front = frame.pictures[0]
        assert front.maps is not None and front.maps.shape[0] == 2 and front.image.shape == (96, 96, 3)
        predicted = next(path for path in frame.paths if path.name == "predicted")
        assert len(predicted.points) == 17 and "ee_translation" in frame.facts["away from recorded"]
        plot = next(plot for plot in frame.plots if plot.title == "predicted and recorded")
        assert np.isfinite(plot.lines["ee_translation 0 recorded"]).all()
        way = next(path for path in frame.paths if path.name == "executed")
        assert np.allclose(frame.poses["camera:wrist"][:3], way.points[-1], atol=0.25), "the arm stands where it was"
    with pytest.raises(OptionError, match="beside an evaluation"), opened(out, against="expert"):
        pass
    with opened(out, robot="ur5e") as source:
        frame = frame_of(source)
        assert not frame.scene.parts and "ur5e has 6 joints" in frame.facts["robot"], "it says why no robot is there"


@dataclass
class Recorded:
    folder: Path
    joints: np.ndarray


@pytest.fixture
def bag(tmp_path) -> Recorded:
    """A bag of two seconds: the arm moves, a picture changes after a second, then the supervisor stops."""
    from rosbags.typesys import Stores, get_typestore

    from vla_agent.ros.recording.recorder import Recorder

    store = get_typestore(Stores.ROS2_JAZZY)
    kinds = {"joint_states": "sensor_msgs/msg/JointState", "camera/front/image": "sensor_msgs/msg/Image"}
    kinds |= {"safety/stopped": "std_msgs/msg/Bool", "policy/refusal": "std_msgs/msg/String"}
    recorder = Recorder(tmp_path, {f"/arm1/{topic}": kind for topic, kind in kinds.items()}, free=0)
    recorder.begin("stack the cubes")
    joints = np.tile(np.append(ROBOT.home, 0.2), (40, 1)) + np.linspace(0, 0.4, 40)[:, None] * np.eye(8)[0]

    def write(topic: str, seconds: float, *values: object) -> None:
        data = store.serialize_cdr(store.types[kinds[topic]](*values), kinds[topic])
        recorder.write(f"/arm1/{topic}", round(1e9 * seconds), bytes(data))

    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](1, 0), "base")
    for k, row in enumerate(joints):
        write("joint_states", 10.0 + 0.05 * k, header, NAMES, row, np.empty(0), np.empty(0))
        if k in (0, 20):
            pixels = np.full(16 * 24 * 3, k, np.uint8)
            write("camera/front/image", 10.0 + 0.05 * k, header, 16, 24, "rgb8", 0, 72, pixels)
    write("policy/refusal", 10.5, "I see no red mug")
    write("safety/stopped", 11.5, True)
    recorder.end("failure")
    return Recorded(tmp_path / "episode-0000", joints)


def test_a_bag_is_read_without_ros_at_any_moment(bag):
    with opened(bag.folder) as source:
        assert source.length == 40
        for number, shown in ((0, 0), (19, 0), (20, 20), (39, 20), (3, 0)):
            frame = frame_of(source, "frame", float(number))
            assert int(frame.pictures[0].image[0, 0, 0]) == shown, number
            joint = frame.plots[0].lines["joint1"][number]
            assert joint == pytest.approx(bag.joints[number, 0])
        assert frame.supervisor is not None and frame.supervisor.level == "good"
        assert frame_of(source, "frame", 15.0).supervisor.text.endswith("I see no red mug")  # type: ignore[union-attr]
        end = frame_of(source, "frame", 39.0)
        assert end.supervisor is not None and end.supervisor.level == "bad" and "failure" in end.status.text
        assert end.facts["robot"] == "panda"


def test_episodes_of_other_rates_are_shown_at_the_same_time():
    def track(hz: float, length: int) -> Track:
        ramp = Signal("action x", "m", ("",), np.arange(length)[:, None] / hz)
        return Track(hz, length, "policy", "push", "success", {}, [ramp], None)

    slow, fast = track(10.0, 20), track(25.0, 75)
    assert (frames_at(fast, 10.0), own_frame(fast, 4, 10.0), own_frame(slow, 25, 10.0)) == (30, 10, 19)
    plot = signal_plot("action x", [(Place("A"), slow), (Place("B"), fast)], 4)
    assert len(plot.x) == 30 and np.isnan(plot.lines["A"][20:]).all()
    assert np.nanmax(np.abs(plot.lines["A"] - plot.x)) < 1e-9 and np.abs(plot.lines["B"] - plot.x).max() <= 0.04
    assert np.flatnonzero(np.isfinite(plot.lines["now"])).tolist() == [4, 5]


def test_a_path_without_episodes_is_refused(tmp_path):
    with pytest.raises(OptionError, match="nothing here can be shown"):
        EpisodeSource(EpisodeSettings(tmp_path))


def test_a_report_that_was_changed_is_named_with_its_key(reports, tmp_path):
    report = json.loads((reports["expert"] / "report.json").read_text())
    report["episodes"][1]["steps"] = "many"
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ReportError, match="cannot be read") as error:
        EpisodeSource(EpisodeSettings(tmp_path))
    assert error.value.key == "episodes.1.steps" and error.value.found == "many"
    report["episodes"] = []
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(OptionError, match="no such episode") as nothing, opened(tmp_path):
        pass
    assert nothing.value.found == "none"
