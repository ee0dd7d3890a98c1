"""The page: panels, controls and 3-D view of one source, shared by all viewers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import viser

from vla_agent.view.page_controls import Controls, Refuse, Send, keys
from vla_agent.view.page_panels import PicturePanel, PlotPanel, StatePanel, Words, keys_in_words
from vla_agent.view.page_scene import SceneView, add_lights
from vla_agent.view.source import Control
from vla_agent.view.stepping import Shown, Trouble

RIGHT, LEFT = 330, 320  # pixels of the panels
COUNTED = 40  # drawn frames over which rate and age are measured


class Page:
    """Builds the page of a source on a server, and draws frames into it.  One thread draws.

    Args:
        send: hands a command to the source.
        refuse: says on the page why a control's value is refused.
        redraw: asks for the last frame to be drawn again, after a viewer changed what is shown of it.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        title: str,
        controls: tuple[Control, ...],
        send: Send,
        redraw: Callable[[], None],
        refuse: Refuse,
    ) -> None:
        self._server, self._redraw = server, redraw
        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False)
        gui.set_panel_label(title)
        add_lights(server)
        self._times: deque[float] = deque(maxlen=COUNTED)
        self._ages: deque[float] = deque(maxlen=COUNTED)
        self._state = StatePanel(server)
        self._controls = Controls(server, controls, send, refuse)
        self.scene = SceneView(server, self._controls.choose)
        self._state.add_details()
        with gui.add_folder("Shown", expand_by_default=False):
            self._add_toggles()
        Words(server).show(keys_in_words(keys(controls)))
        gui.main_panel.dock_right()
        gui.main_panel.set_width(RIGHT)
        panel = gui.add_panel()
        with panel.add_tab("Cameras", viser.Icon.CAMERA):
            self._pictures = PicturePanel(server)
        with panel.add_tab("Plots", viser.Icon.CHART_LINE):
            self._plots = PlotPanel(server)
        panel.dock_left()
        panel.set_width(LEFT)

    def draw(self, shown: Shown) -> None:
        """Draw a frame for all viewers, in one piece."""
        frame, now = shown.frame, time.monotonic()
        self._times.append(now)
        with self._server.atomic():
            self.scene.draw(frame)
            self._pictures.show(frame.pictures)
            self._plots.show(frame.plots, now)
            self._controls.show(frame.values, frame.options, shown.handled)
            self._state.show(frame, shown.handled, self._measured())
        self._server.flush()
        self._ages.append(time.time() - frame.taken)

    def catch_up(self) -> None:
        """Draw what of the last frame had to wait."""
        self._plots.catch_up(time.monotonic())

    def trouble(self, troubles: list[Trouble], handled: int) -> None:
        """Show what went wrong; the page stays as it is otherwise."""
        self._state.trouble(troubles, handled)

    def _measured(self) -> dict[str, str]:
        times, ages = self._times, sorted(self._ages)
        if len(times) < 2 or not ages:
            return {}
        rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
        return {"drawn": f"{rate:.1f} Hz, {1000 * ages[len(ages) // 2]:.0f} ms after the camera"}

    def _add_toggles(self) -> None:
        gui = self._server.gui
        for label, name, value in (
            ("pointing maps", "maps", True),
            ("points", "points", True),
            ("named things", "boxes", False),
        ):
            box = gui.add_checkbox(label, value)
            box.on_update(partial(self._show_on_pictures, name))
        paths = gui.add_checkbox("paths: executed blue, planned orange", True)
        paths.on_update(lambda event: self.scene.show_paths(event.target.value))
        cameras = gui.add_checkbox("cameras in space", True)
        cameras.on_update(lambda event: self.scene.show_cameras(event.target.value))

    def _show_on_pictures(self, name: str, event: Any) -> None:
        setattr(self._pictures, name, event.target.value)
        self._redraw()
