"""Frames of the robot file that TF does not have: said once, after a while, with the nearest name."""

from vla_agent.robot.frame_check import KEPT, WAIT, FrameCheck


def test_frames_that_are_there_are_not_missed():
    check = FrameCheck(["base", "camera_front", "base"])
    check.hear(["/base", "link1"], 0.0)
    check.hear(["camera_front"], WAIT - 1)
    assert check.done and check.report(WAIT + 1) == ""


def test_a_missing_frame_is_named_once_with_the_nearest():
    check = FrameCheck(["base", "camera_front"])
    assert check.report(100.0) == "", "without TF nothing is missing"
    check.hear(["base", "camera_front_optical_frame", "link1"], 100.0)
    assert check.report(100.0 + WAIT - 0.1) == "" and not check.done
    told = check.report(100.0 + WAIT)
    assert told == "not in TF: camera_front, frames of the robot file; did you mean camera_front_optical_frame?"
    assert check.done and check.report(200.0) == ""


def test_many_frames_take_little_memory():
    check = FrameCheck(["base"])
    for k in range(3 * KEPT):
        check.hear([f"{k} " + "x" * 10_000], 0.0)
    assert len(check._heard) <= KEPT + 1 and len(check.report(WAIT)) < 1000
