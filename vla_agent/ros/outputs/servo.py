"""MoveIt Servo: its command type is set before the first message, and it must take metres, radians and seconds."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters

from vla_agent.ros.outputs.interface_types import interface_type

COMMAND_TYPES = {"joint_jog": "JOINT_JOG", "twist": "TWIST", "pose": "POSE"}
UNITS = "moveit_servo.command_in_type"  # parameter of Servo's node
ANSWER = 2.0  # seconds within which a service answers


class ServoSwitch:
    """Sets the command type of the Servo node ``name`` once it is there, again where it was restarted, and on `clear`.

    Args:
        node: of rclpy.
        kind: type of the output, a key of `COMMAND_TYPES`.

    Raises:
        NodeError: moveit_msgs is not installed.
    """

    def __init__(self, node: Any, name: str, kind: str) -> None:
        service = interface_type("moveit_msgs", "srv", "ServoCommandType", "controller: servo")
        self._request = service.Request(command_type=getattr(service.Request, COMMAND_TYPES[kind]))
        self._name, self._kind = name, kind
        self._switch: Any = node.create_client(service, f"{name}/switch_command_type")
        self._parameters: Any = node.create_client(GetParameters, f"{name}/get_parameters")
        self.clear()

    def clear(self) -> None:
        """Ask again."""
        self._attempt = getattr(self, "_attempt", 0) + 1
        self._asked_at: float | None = None
        self._switched, self._units, self._refusal = False, "", ""

    @property
    def _there(self) -> bool:
        return bool(self._switch.service_is_ready() and self._parameters.service_is_ready())

    def prepare(self) -> None:
        """Call it several times a second: asks where that was not done yet."""
        if not self._there:
            if self._asked_at is not None:
                self.clear()  # another one may come, which knows nothing
            return
        if self._asked_at is not None:
            return
        self._asked_at, attempt = time.monotonic(), self._attempt
        asked = self._parameters.call_async(GetParameters.Request(names=[UNITS]))
        asked.add_done_callback(partial(self._take_units, attempt))

    def _take_units(self, attempt: int, future: Any) -> None:
        if attempt != self._attempt:
            return
        (value,) = future.result().values if future.exception() is None and future.result().values else (None,)
        if value is None or value.type != ParameterType.PARAMETER_STRING:
            self._refusal = f"{self._name} has no parameter {UNITS}: is it MoveIt Servo of Iron or later?"
        elif value.string_value != "speed_units" and self._kind != "pose":
            self._refusal = f"{self._name} takes {value.string_value}: set its command_in_type to speed_units"
        else:
            self._switch.call_async(self._request).add_done_callback(partial(self._take_switch, attempt))

    def _take_switch(self, attempt: int, future: Any) -> None:
        if attempt != self._attempt:
            return
        if future.exception() is None and future.result().success:
            self._switched = True
        else:
            self._refusal = f"{self._name} refuses the command type {COMMAND_TYPES[self._kind]}"

    @property
    def problem(self) -> str:
        """Why Servo takes no commands; empty where it does."""
        if self._refusal or self._switched and self._there:
            return self._refusal
        if not self._there:
            return f"no service {self._name}/switch_command_type: does MoveIt Servo run?"
        if self._asked_at is not None and time.monotonic() - self._asked_at > ANSWER:
            return f"{self._name} does not answer"
        return f"{self._name} is asked for its command type"
