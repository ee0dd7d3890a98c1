"""pip and colcon install the package so that ROS 2's launch finds its nodes; with colcon after `make colcon-check`."""

from __future__ import annotations

import pytest

pytest.importorskip("ament_index_python")

from benchmarks.ros.ros_colcon import colcon_checks, colcon_command, pip_checks  # noqa: E402

STARTED = ("safety_node",)  # the benchmark ros-colcon starts all of them


def test_nodes_are_found_and_start_after_pip_install(tmp_path):
    rows = pip_checks(tmp_path / "prefix", STARTED)
    assert len(rows) == 4 and not [row for row in rows if row["wrong"]]


@pytest.mark.skipif(colcon_command() is None, reason="colcon is not installed: make colcon-check")
def test_colcon_takes_it_for_ament_python_builds_and_tests_it(tmp_path):
    rows = colcon_checks(tmp_path / "workspace", ("tests/package/test_packaging.py",), STARTED)
    assert len(rows) == 6 and not [row for row in rows if row["wrong"]]
