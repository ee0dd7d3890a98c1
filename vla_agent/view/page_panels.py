"""The panels of the page: state and facts in words, pictures, plots."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import viser

from vla_agent.view.overlays import ROLES, draw
from vla_agent.view.source import Frame, Picture, Plot, Status
from vla_agent.view.stepping import Trouble

PLOT_PERIOD = 0.25  # seconds between two updates of the plots
PLOT_HEIGHT = 190  # pixels
JPEG = 85
COLOURS = ("#2563eb", "#d97706", "#16a34a", "#dc2626", "#7c3aed", "#0891b2", "#db2777", "#65a30d")
TROUBLES = 3  # kept on the page


class Words:
    """HTML elements that are sent again only where they have changed."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._element = server.gui.add_html("")

    def show(self, content: str) -> None:
        if self._element.content != content:
            self._element.content = content


class StatePanel:
    """What happens, in words: status, supervisor, facts, rates, latencies, and what went wrong."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._state = Words(server)
        self._stamp = Words(server)
        self._troubles: list[tuple[str, Trouble]] = []
        self._handled = 0

    def add_details(self) -> None:
        """The slower part, in a folder of its own."""
        with self._server.gui.add_folder("Details"):
            self._facts = Words(self._server)

    def show(self, frame: Frame, handled: int, measured: Mapping[str, str]) -> None:
        """Show a frame's words.

        Args:
            handled: commands so far; once a viewer does something else, what went wrong before is no longer shown.
            measured: further facts, of the window itself.
        """
        if handled > self._handled:
            self._troubles.clear()
        self._handled = handled
        self._show_state(frame.status, frame.supervisor)
        self._stamp.show(f'<span class="view-stamp" data-taken="{frame.taken:.4f}"></span>')
        rates = {f"{name} rate": f"{hz:.1f} Hz" for name, hz in frame.rates.items()}
        latencies = {f"{name} latency": f"{ms:.0f} ms" for name, ms in frame.latencies.items()}
        self._facts.show(_table({**frame.facts, **rates, **latencies, **measured}))
        self._last = frame

    def trouble(self, troubles: list[Trouble], handled: int) -> None:
        """Show what went wrong, with the last state."""
        self._handled = max(self._handled, handled)
        now = time.strftime("%H:%M:%S")
        self._troubles = [*self._troubles, *((now, trouble) for trouble in troubles)][-TROUBLES:]
        last = getattr(self, "_last", None)
        self._show_state(Status("nothing to see yet") if last is None else last.status, last and last.supervisor)

    def _show_state(self, status: Status, supervisor: Status | None) -> None:
        lines = [_state(status, "view-status")]
        if supervisor is not None:
            lines.append(_state(Status(f"supervisor: {supervisor.text}", supervisor.level), "view-supervisor"))
        lines += [f'<div class="trouble" role="alert">{at} {escape(t.text)}</div>' for at, t in self._troubles]
        self._state.show(f'<div class="view" aria-live="polite">{"".join(lines)}</div>')


class PicturePanel:
    """The cameras, with what the policy sees drawn on them; fills the container that is open when it is made."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server, self._images = server, dict[str, tuple[Any, Any]]()
        self.maps, self.points, self.boxes = True, True, False
        self._folder = server.gui.add_folder(None)
        with self._folder:
            legend = "".join(
                f'<span style="white-space:nowrap;margin-right:.8rem"><span style="color:rgb{colour}">&#9679;</span> '
                f"{words}</span>"
                for colour, words in ROLES
            )
            server.gui.add_html(f'<div class="view">{legend}</div>')

    def show(self, pictures: tuple[Picture, ...]) -> None:
        for name in self._images.keys() - {picture.name for picture in pictures}:
            self._images.pop(name)[0].remove()
        for picture in pictures:
            settings = (self.maps, self.points, self.boxes)
            known = self._images.get(picture.name)
            if known is not None and known[1][0] is picture.image and known[1][1] == (id(picture.maps), settings):
                continue
            drawn = draw(picture, *settings)
            if known is None:
                with self._folder:
                    element = self._server.gui.add_image(drawn, label=picture.name, format="jpeg", jpeg_quality=JPEG)
            else:
                element = known[0]
                element.image = drawn
            self._images[picture.name] = element, (picture.image, (id(picture.maps), settings))


class PlotPanel:
    """Curves that run; fills the container that is open when it is made."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server, self._folder = server, server.gui.add_folder(None)
        self._charts: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self._next = 0.0
        self._waiting: tuple[Plot, ...] | None = None  # what came too early

    def show(self, plots: tuple[Plot, ...], now: float) -> None:
        """Update, a few times a second at most; what comes earlier waits for `catch_up`."""
        self._waiting = plots
        self.catch_up(now)

    def catch_up(self, now: float) -> None:
        """Show what waits: the last plots before everything stands still, too."""
        if self._waiting is None or now < self._next:
            return
        plots, self._waiting, self._next = self._waiting, None, now + PLOT_PERIOD
        for title in self._charts.keys() - {plot.title for plot in plots}:
            self._charts.pop(title)[0].remove()
        for plot in plots:
            data = tuple(np.asarray(values, np.float64) for values in (plot.x, *plot.lines.values()))
            if len(plot.x) == 0:
                data = tuple(np.full(1, np.nan) for _ in data)
            labels = tuple(plot.lines)
            known = self._charts.get(plot.title)
            if known is not None and known[1] == labels:
                known[0].data = data
                continue
            if known is not None:
                known[0].remove()
            self._charts[plot.title] = self._add(plot, data), labels

    def _add(self, plot: Plot, data: tuple[np.ndarray, ...]) -> Any:
        lines = [
            {"label": label, "stroke": COLOURS[k % len(COLOURS)], "width": 1.5} for k, label in enumerate(plot.lines)
        ]
        series: Any = ({"label": plot.x_label}, *lines)
        scales: Any = {"x": {"time": False}}
        with self._folder:
            return self._server.gui.add_uplot(
                data, series, title=plot.title, scales=scales, height=PLOT_HEIGHT, legend={"show": True}
            )


def keys_in_words(keys: Mapping[str, str]) -> str:
    """What the keyboard does, and the button for dark or light."""
    told = " &nbsp; ".join(f'<span class="key">{escape(key)}</span> {escape(label)}' for key, label in keys.items())
    return f'<div class="view">{told}<br><button data-view-scheme type="button">dark / light</button></div>'


def _state(status: Status, kind: str) -> str:
    return f'<div class="state {escape(status.level)} {kind}">{escape(status.text)}</div>'


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return f'<div class="view"><table>{rows}</table></div>'
