"""The controls of a source as elements of the page, and the keys that press buttons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import viser

from vla_agent.errors import OptionError
from vla_agent.view.control_values import checked
from vla_agent.view.source import Button, Choice, Command, Control, Handle, Slider, TextBox, Toggle, Value

Send = Callable[[Command], int]  # returns the command's number
Refuse = Callable[[str, OptionError], None]  # a control's name, and why its value is refused
CLOSED_FROM = 2  # the first groups are open, the others begin closed
ACTIONS = "actions"
AWAY = (0.0, 0.0, -20.0)  # metres: where what cannot be seen catches no click either
GIZMO = 0.12  # metres: length of the arrows by which something is dragged


class Controls:
    """Puts controls into the container that is open, and keeps them in step with the source."""

    def __init__(self, server: viser.ViserServer, controls: tuple[Control, ...], send: Send, refuse: Refuse) -> None:
        self._server, self._send, self._refuse = server, send, refuse
        self._controls = {control.name: control for control in controls}
        self._elements: dict[str, Any] = {}
        self._sent: dict[str, int] = {}  # control -> number of the last command that a viewer sent by it
        self._shown: dict[str, Value] = {}
        for control in controls:
            if isinstance(control, Handle):
                self._add_handle(control)
        grouped = sorted((c for c in controls if not isinstance(c, Handle)), key=_order(controls))
        number = 0
        for group, members in groupby(grouped, key=lambda c: c.group):
            if group:
                with server.gui.add_folder(group, expand_by_default=number < CLOSED_FROM):
                    self._add_all(tuple(members))
                number += 1
            else:
                self._add_all(tuple(members))

    def show(self, values: Mapping[str, Value], options: Mapping[str, tuple[str, ...]], handled: int) -> None:
        """Bring the page in step with the source.

        Args:
            handled: commands that the source had handled; what a viewer has changed since is left alone.
        """
        for name, names in options.items():
            element = self._elements.get(name)
            if element is not None and tuple(element.options) != names:
                element.options = names
                self._shown.pop(name, None)
        for name, value in values.items():
            element = self._elements.get(name)
            if element is None or self._sent.get(name, 0) > handled:
                continue
            if isinstance(element, viser.TransformControlsHandle):
                self._place(element, value)
            elif value is not None and self._shown.get(name) != value:
                self._shown[name] = value
                element.value = value

    @staticmethod
    def _place(element: viser.TransformControlsHandle, value: Value) -> None:
        element.visible = value is not None
        place = value if isinstance(value, tuple) else AWAY
        if tuple(element.position) != place:
            element.position = place

    def _add_all(self, controls: tuple[Control, ...]) -> None:
        """In order; buttons that follow each other share rows."""
        for kind, members in groupby(controls, key=lambda c: isinstance(c, Button)):
            if kind:
                self._add_buttons(tuple(c for c in members if isinstance(c, Button)))
            else:
                for control in members:
                    self._add(control)

    def _add_buttons(self, buttons: tuple[Button, ...]) -> None:
        names = {button.label: button.name for button in buttons}
        group = self._server.gui.add_button_group(ACTIONS, tuple(names))

        def pressed(event: Any) -> None:
            if event.target.value in names:  # a browser can send anything
                self._press(names[event.target.value])

        group.on_click(pressed)
        for button in buttons:
            if button.key:
                key: Any = button.key if button.key == "space" else button.key.upper()
                command = self._server.gui.add_command(button.label, description=button.hint or None, hotkey=key)
                command.on_trigger(partial(self._press, button.name))

    def _add(self, control: Control) -> None:
        gui, hint = self._server.gui, getattr(control, "hint", "") or None
        element: Any
        if isinstance(control, TextBox):
            self._add_text(control)
            return
        if isinstance(control, Choice):
            element = gui.add_dropdown(control.label, control.options, initial_value=control.value, hint=hint)
        elif isinstance(control, Slider):
            label = f"{control.label}, {control.unit}" if control.unit else control.label
            whole = all(float(v).is_integer() for v in (control.low, control.high, control.step))
            numbers = (control.low, control.high, control.step, control.value)
            low, high, step, value = (int(n) if whole else float(n) for n in numbers)
            element = gui.add_slider(label, min=low, max=high, step=step, initial_value=value, hint=hint)
        else:
            assert isinstance(control, Toggle)
            element = gui.add_checkbox(control.label, control.value, hint=hint)
        self._elements[control.name], self._shown[control.name] = element, control.value
        element.on_update(lambda event, name=control.name: self._use(event, name, event.target.value))

    def _add_text(self, control: TextBox) -> None:
        """Sent by Enter or the button; what is typed meanwhile stays in the browser."""
        gui = self._server.gui
        with gui.add_form(None) as form:
            element = gui.add_text(control.label, control.value, hint=control.hint or None)
        button = gui.add_button(control.send)
        self._elements[control.name], self._shown[control.name] = element, control.value

        def typed(event: Any) -> None:  # the source's text does not replace what a viewer types
            if event.client is not None:
                self._sent[control.name] = 2**62

        def submit(_: Any) -> None:
            self._shown.pop(control.name, None)
            self._sent[control.name] = 0
            self._hand_on(control.name, element.value)

        element.on_update(typed)
        form.on_submit(submit)
        button.on_click(submit)

    def _add_handle(self, control: Handle) -> None:
        gizmo = self._server.scene.add_transform_controls(
            f"/handles/{control.name}", scale=GIZMO, disable_rotations=True, visible=False, depth_test=False
        )
        self._elements[control.name] = gizmo

        def moved(event: Any) -> None:
            if event.client is not None:
                x, y, z = (float(c) for c in gizmo.position)
                self._hand_on(control.name, (x, y, z))

        gizmo.on_update(moved)

    def _press(self, name: str, _: Any = None) -> None:
        self._send(Command(name))

    def choose(self, name: str, option: str) -> None:
        """A viewer chose an option in another way than by its list, such as a click in the 3-D view."""
        self._hand_on(name, option)

    def _use(self, event: Any, name: str, value: Value) -> None:
        if event.client is None:  # set by `show`
            return
        self._shown[name] = value
        self._hand_on(name, value)

    def _hand_on(self, name: str, value: Any) -> None:
        """To the source, in the control's range."""
        try:
            found = checked(self._controls[name], value, tuple(getattr(self._elements.get(name), "options", ())))
        except OptionError as error:
            self._shown.pop(name, None)
            self._refuse(name, error)
            return
        if found != value:  # the page shows what the source got
            self._shown.pop(name, None)
        self._sent[name] = self._send(Command(name, found))


def keys(controls: tuple[Control, ...]) -> dict[str, str]:
    """Key -> what it does."""
    return {c.key: c.label for c in controls if isinstance(c, Button) and c.key}


def _order(controls: tuple[Control, ...]) -> Callable[[Any], int]:
    """Groups in the order in which they appear; controls without a group first."""
    groups = ["", *dict.fromkeys(c.group for c in controls if not isinstance(c, Handle) and c.group)]
    return lambda control: groups.index(control.group)
