"""A robot of two hinges and a slide, small enough for exact numbers: for tests of the controller and its limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vla_agent.robot.description import Joint, Robot, load_robot

PANDA = load_robot("panda")
PLANAR = """
<mujoco>
  <worldbody>
    <body name="one"><joint name="a" axis="0 0 1" range="-170 170"/><geom size="0.01" pos="0.3 0 0"/>
      <body name="two" pos="0.3 0 0"><joint name="b" axis="0 0 1" range="-150 150"/><geom size="0.01" pos="0.2 0 0"/>
        <body name="three" pos="0.2 0 0">
          <joint name="c" type="slide" axis="0 0 1"/><geom size="0.01"/><site name="tip"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="a"/></actuator>
  <sensor><jointpos joint="a"/></sensor>
  <equality><joint joint1="a" joint2="b"/></equality>
  <tendon><fixed name="cord"><joint joint="a" coef="1"/></fixed></tendon>
  <contact><pair geom1="first" geom2="second"/></contact>
</mujoco>
""".replace('<body name="one">', '<geom name="first" size="0.1"/><geom name="second" size="0.1"/><body name="one">')


def joint(name: str, **limits: Any) -> Joint:
    """A joint with these limits in place of the usual ones."""
    usual = {"position": (-2.0, 2.0), "velocity": 1.0, "acceleration": 4.0, "jerk": 20.0}
    return PANDA.joints[0].model_copy(update={"name": name, **usual, **limits})


def write_planar_robot(folder: Path) -> Robot:
    """Write its model and its robot file into ``folder``, and load it; its period is 0.1 s."""
    (folder / "planar.xml").write_text(PLANAR)
    joints = (joint("a"), joint("b", velocity=0.5), joint("c", position=(-0.2, 0.3), jerk=1e9))
    changes = {"joints": joints, "home": (0.1, 0.2, 0.05), "end_effector": "tip", "control_hz": 10.0}
    data = PANDA.model_copy(update=changes).model_dump(mode="json") | {"model": "planar.xml"}
    data["safety"] = {"filter": {"enabled": False}}  # its look-ahead has the bodies of another arm
    (folder / "planar.yaml").write_text(json.dumps(data))  # JSON is YAML
    return load_robot(folder / "planar.yaml")
