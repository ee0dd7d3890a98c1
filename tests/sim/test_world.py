"""The simulated world: physics, determinism, snapshots, images and queries."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.world.objects import half_extents
from sim.world.panda import HOME
from sim.world.scene import COLOURS, SHAPES, Button, Object, Scene, Start, Zone
from sim.world.world import DRAWER_TRAVEL, World
from vla_agent.errors import OptionError
from vla_agent.robot.kinematics.pose_controller import MAX_LAG

SPOTS = ((0.45, -0.10), (0.45, 0.0), (0.45, 0.10), (0.57, -0.10), (0.57, 0.0), (0.57, 0.10))
FIXTURES = {
    "buttons": (Button("red", (0.70, -0.13)), Button("green", (0.70, 0.0)), Button("blue", (0.70, 0.13))),
    "zones": (Zone("yellow", (0.33, -0.07)), Zone("purple", (0.33, 0.08))),
}


def scene_of(*shapes: str, colour: str = "", **changes) -> Scene:
    colours = list(COLOURS)
    objects = tuple(
        Object(f"object{k}", shape, colour or colours[k], SPOTS[k], yaw=0.3 * k) for k, shape in enumerate(shapes)
    )
    return replace(Scene(objects, **FIXTURES), **changes)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def go(world: World, target, gripper: float = 0.0, steps: int = 60) -> None:
    """Move the commanded position to a point, pointing down."""
    for _ in range(steps):
        action = np.zeros(7)
        action[:3] = np.clip(np.array(target) - world.command_position, -0.02, 0.02)
        action[6] = gripper
        world.step(action)


def random_actions(seed: int, steps: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (steps, 7)) * ([0.025] * 3 + [0.15] * 3 + [1.0])


def bits(world: World, steps: int = 25) -> str:
    """Hash of a short episode: states and images."""
    digest = hashlib.sha256()
    world.reset(scene_of("mug", "ball", "star", "pear", drawer_open=0.4))
    for action in random_actions(3, steps):
        world.step(action)
        digest.update(world.data.qpos.tobytes() + world.data.qvel.tobytes())
    for image in world.render().values():
        digest.update(image.tobytes())
    return digest.hexdigest()


def test_same_scene_same_bits_after_other_episodes(world: World) -> None:
    first = bits(world)
    world.reset(scene_of("cube", "cup", "bottle", "block", "cylinder", "star", drawer_open=1.0))
    for action in random_actions(9, 10):
        world.step(action)
    assert bits(world) == first


def test_same_scene_same_bits_in_another_process(world: World) -> None:
    code = "from tests.sim.test_world import bits, World; w = World(); print(bits(w)); w.close()"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == bits(world)


def test_restore_goes_back_exactly(world: World) -> None:
    world.reset(scene_of("cube", "ball", "mug"))
    for action in random_actions(1, 20):
        world.step(action)
    kept, seen = world.snapshot(), world.render()
    follow = random_actions(2, 15)

    def after() -> bytes:
        for action in follow:
            world.step(action)
        return world.data.qpos.tobytes() + world.data.qvel.tobytes() + world.state().tobytes()

    expected = after()
    world.restore(kept)
    for name, image in world.render().items():
        np.testing.assert_array_equal(image, seen[name])
    assert after() == expected
    world.reset(scene_of("pear"))
    world.restore(kept)
    assert after() == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_stand_where_the_scene_puts_them(world: World, shape: str) -> None:
    world.reset(scene_of(shape, shape, shape, shape, shape, shape))
    for _ in range(20):
        world.step(np.zeros(7))
    for item in world.scene.objects:
        expected = (*item.xy, half_extents(shape)[2])
        np.testing.assert_allclose(world.object_position(item.name), expected, atol=0.002)
        assert world.object_rotation(item.name)[2, 2] > 0.99
        assert abs(world.object_yaw(item.name) - item.yaw) < 0.02
        assert world.touching(item.name, "table")
        assert not world.touching(item.name, "gripper")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_can_be_grasped_lifted_and_released(world: World, shape: str) -> None:
    world.reset(scene_of("cube", shape))  # object1: its yaw of 0.3 against a gripper at yaw 0
    x, y, z = world.object_position("object1")
    height = min(z, 0.03)
    go(world, (x, y, 0.12), steps=12)
    go(world, (x, y, height), steps=15)
    go(world, (x, y, height), gripper=1.0, steps=12)
    assert world.held("object1")
    go(world, (x, y, 0.2), gripper=1.0, steps=25)
    assert world.held("object1") and world.object_position("object1")[2] > 0.12
    assert not world.touching("object1", "table") and world.touching("object1", "gripper")
    go(world, (x, y, height + 0.004), gripper=1.0, steps=20)
    go(world, (x, y, height + 0.004), gripper=0.0, steps=15)
    assert not world.held("object1") and world.touching("object1", "table")


def test_arm_follows_its_command(world: World) -> None:
    world.reset(scene_of())
    for target in ((0.46, -0.12, 0.05), (0.62, 0.14, 0.03), (0.72, 0.0, 0.10), (0.34, 0.2, 0.25)):
        go(world, target, steps=50)
        np.testing.assert_allclose(world.ee_position, target, atol=0.003)
        assert world.ee_rotation[2, 2] < -0.999
        assert abs(world.ee_yaw) < 0.01


def test_rotation_actions_turn_about_the_base_axes(world: World) -> None:
    world.reset(scene_of())
    for _ in range(10):
        world.step(np.array([0, 0, 0, 0, 0, 0.1, 0]))
    for _ in range(10):
        world.step(np.zeros(7))
    assert abs(world.ee_yaw - 1.0) < 0.02


def test_actions_are_clipped_and_the_command_stays_near(world: World) -> None:
    world.reset(scene_of())
    before = world.command_position
    world.step(np.array([9.0, 0, 0, 0, 0, 0, 9.0]))
    assert world.command_position[0] - before[0] <= 0.0251
    for _ in range(40):  # into the table
        world.step(np.array([0, 0, -0.025, 0, 0, 0, 1.0]))
    assert np.linalg.norm(world.command_position - world.ee_position) <= MAX_LAG[0] + 0.01
    assert world.ee_position[2] > -0.005


def test_joint_mode_repeats_the_same_motion(world: World) -> None:
    scene = scene_of("cube", "cup")
    world.reset(scene)
    targets = []
    for action in random_actions(4, 30):
        world.step(action)
        targets.append(np.append(world.controller.joints, world.controller.gripper))
    expected = world.state()
    joints = World(control="joint_position")
    joints.reset(scene)
    for target in targets:
        joints.step(target)
    np.testing.assert_array_equal(joints.state(), expected)


def test_state_layout(world: World) -> None:
    world.reset(scene_of("cube", start=Start((0.5, 0.05, 0.15), yaw=0.4, gripper=1.0)))
    state = world.state()
    assert state.shape == (17,) and state.dtype == np.float32
    np.testing.assert_allclose(state[:3], (0.5, 0.05, 0.15), atol=0.003)
    np.testing.assert_allclose(state[3:9], world.ee_rotation[:, :2].T.ravel(), atol=1e-6)
    assert state[9] > 0.9 and abs(world.ee_yaw - 0.4) < 0.01
    assert np.abs(state[10:] - HOME).max() < 1.0


def test_drawer_stays_where_it_is_and_opens_by_its_handle(world: World) -> None:
    world.reset(scene_of("cube", drawer_open=0.5))
    go(world, (0.45, 0.0, 0.2), steps=20)
    assert abs(world.drawer_opening() - 0.5) < 0.01
    world.reset(scene_of("cube"))
    x, y, z = world.drawer_handle()
    go(world, (x, y, 0.15), steps=40)
    go(world, (x, y, z), steps=15)
    go(world, (x, y, z), gripper=1.0, steps=12)
    go(world, (x + DRAWER_TRAVEL, y, z), gripper=1.0, steps=25)
    assert world.drawer_opening() > 0.9
    np.testing.assert_allclose(world.drawer_interior()[0][0], world.scene.cabinet_xy[0] + 0.134, atol=0.012)


def test_objects_stand_in_tray_drawer_and_on_each_other(world: World) -> None:
    interior = (0.37 + 0.134, -0.275)
    objects = (
        Object("a", "cylinder", "red", (0.50, 0.265), on="tray"),
        Object("b", "mug", "blue", interior, on="drawer"),
        Object("c", "block", "green", (0.5, 0.0)),
        Object("d", "cube", "white", (0.5, 0.0), on="c"),
    )
    world.reset(Scene(objects, **FIXTURES, drawer_open=1.0))
    for _ in range(20):
        world.step(np.zeros(7))
    assert world.touching("a", "tray") and world.touching("b", "drawer") and world.touching("d", "c")
    assert not world.touching("d", "table") and not world.touching("a", "table")
    np.testing.assert_allclose(world.object_position("d")[2], 2 * 0.018 + 0.021, atol=0.002)


def test_button_latches_when_pressed_and_only_that_one(world: World) -> None:
    world.reset(scene_of("cube"))
    top = world.button_position("green")
    assert not world.button_pressed("green")
    go(world, (*top[:2], 0.12), gripper=1.0, steps=30)
    go(world, (*top[:2], top[2] - 0.02), gripper=1.0, steps=20)
    go(world, (*top[:2], 0.12), gripper=1.0, steps=10)
    assert world.button_pressed("green") and not world.button_pressed("red") and not world.button_pressed("blue")
    np.testing.assert_allclose(world.button_position("green"), top, atol=0.002)
    world.reset(world.scene)
    assert not world.button_pressed("green")


def test_ball_does_not_roll_away(world: World) -> None:
    world.reset(scene_of("ball"))
    world.data.qvel[world.model.joint("slot0").dofadr[0]] = 0.1  # a slight touch: 10 cm/s
    for _ in range(60):
        world.step(np.zeros(7))
    x = world.object_position("object0")[0]
    for _ in range(20):
        world.step(np.zeros(7))
    assert x - SPOTS[0][0] < 0.10 and abs(world.object_position("object0")[0] - x) < 0.002


def test_projection_points_at_the_object(world: World) -> None:
    world.reset(scene_of("ball", colour="red", start=Start((0.34, 0.1, 0.25))))
    image = world.render()["front"].astype(int)
    red = (image[..., 0] > 120) & (image[..., 1] < 90) & (image[..., 2] < 90)
    rows, columns = np.nonzero(red[:60])  # the red button is lower
    u, v, inside = world.project("front", world.object_position("object0")[None])[0]
    assert inside == 1.0
    np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), (u * 96, v * 96), atol=1.5)
    assert world.project("front", np.array([[0.5, 3.0, 0.0]]))[0, 2] == 0.0


def test_right_in_the_front_image_is_plus_y(world: World) -> None:
    world.reset(scene_of())
    left, right, near = world.project("front", np.array([[0.5, -0.1, 0.0], [0.5, 0.1, 0.0], [0.6, 0.0, 0.0]]))
    assert left[0] < right[0] and near[1] > left[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_shows_in_its_colour_and_unused_slots_do_not(world: World, shape: str) -> None:
    world.reset(scene_of())
    empty = world.render()["front"].astype(int)
    world.reset(scene_of(shape, colour="blue"))
    changed = np.abs(world.render()["front"].astype(int) - empty).sum(-1) > 60
    assert 15 < changed.sum() < 300
    pixels = world.render()["front"][changed].astype(int)
    assert (pixels[:, 2] > pixels[:, 0] + 40).mean() > 0.8


def test_drawing_only_what_is_in_view_changes_no_pixel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(scene_of("mug", "star", drawer_open=1.0))
    for action in random_actions(5, 12):
        world.step(action)
        seen = world.render()
        with monkeypatch.context() as patch:
            patch.setattr(type(world.cameras), "_in_view", lambda self, data, camera: np.ones(self._model.ngeom, bool))
            for name, image in world.render().items():
                np.testing.assert_array_equal(image, seen[name])


def test_move_arm_teleports(world: World) -> None:
    world.reset(scene_of("cube"))
    before = world.object_position("object0")
    world.move_arm(Start((0.55, -0.1, 0.1), yaw=-0.6, gripper=0.5))
    np.testing.assert_allclose(world.ee_position, (0.55, -0.1, 0.1), atol=1e-3)
    assert abs(world.ee_yaw + 0.6) < 1e-3 and abs(world.gripper - 0.5) < 1e-6
    np.testing.assert_array_equal(world.object_position("object0"), before)


@pytest.mark.parametrize("options", [{"control": "torque"}, {"image_size": (0, 96)}, {"image_size": (96,)}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(OptionError) as error:
        World(**options)
    assert error.value.key in options and error.value.remedy


def test_rendering_needs_no_setting_even_when_mujoco_comes_first() -> None:
    code = (
        "import os; os.environ.pop('MUJOCO_GL', 0); import mujoco;"
        "from sim.world.world import World; from tests.sim import test_world;"
        "w = World(); w.reset(test_world.scene_of()); print(w.render()['front'].shape)"
    )
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"} | {"PYTHONPATH": str(root)}
    out = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert "(96, 96, 3)" in out.stdout, out.stderr


@pytest.mark.parametrize("library", ["AttributeError('no glGetError')", "RuntimeError('invalid value')"])
def test_a_backend_that_is_not_installed_is_refused_with_the_remedy(library: str) -> None:
    """PyOpenGL raises an AttributeError where the library of a backend is missing."""
    code = (
        "import importlib.abc, sys\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'mujoco': raise {library}\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from vla_agent.errors import SimulatorError\n"
        "try:\n    import sim\nexcept SimulatorError as e:\n    print(e.key, '|', e.found, '|', e.remedy)"
    )
    environment = {**os.environ, "MUJOCO_GL": "osmesa"}
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert "MUJOCO_GL=osmesa" in out.stdout and "apt-get" in out.stdout, out.stderr


def test_no_gl_names_the_remedy() -> None:
    code = (
        "from sim.world.world import World\nfrom vla_agent.errors import SimulatorError\n"
        "try:\n    World().render()\nexcept SimulatorError as e:\n    print(e.key, '|', e.remedy)"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "99"}
    out = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert "MUJOCO_GL" in out.stdout and "apt-get" in out.stdout, out.stderr
