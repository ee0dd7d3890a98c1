"""What the page shows of a frame, and no longer shows of the one before: pictures, plots, paths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import viser

from vla_agent.view.access import Guard
from vla_agent.view.guarded_server import bind, start, stop
from vla_agent.view.page_panels import PLOT_PERIOD, PicturePanel, PlotPanel
from vla_agent.view.page_scene import SceneView
from vla_agent.view.source import Frame, Part, Path, Picture, Plot, Scene, Status


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    found = start(bind("127.0.0.1", 0), Guard(True), "page")
    yield found
    stop(found)


def plot(title: str, value: float = 0.0) -> Plot:
    return Plot(title, np.arange(3.0), {"a": np.full(3, value)})


def charts(server: viser.ViserServer) -> dict[str, float]:
    """Title -> last value of the plots that are on the page."""
    found = [h for h in server.gui._container_handle_from_uuid.values() for h in getattr(h, "_children", {}).values()]
    return {h.title: float(h.data[1][-1]) for h in found if isinstance(h, viser.GuiUplotHandle)}


def pictures(server: viser.ViserServer) -> set[str]:
    found = [h for h in server.gui._container_handle_from_uuid.values() for h in getattr(h, "_children", {}).values()]
    return {str(h.label) for h in found if isinstance(h, viser.GuiImageHandle)}


def test_a_plot_that_the_frame_has_no_more_is_gone(server):
    panel = PlotPanel(server)
    panel.show((plot("losses: pretrain"), plot("speed")), 10.0)
    assert charts(server).keys() == {"losses: pretrain", "speed"}
    panel.show((plot("losses: head"), plot("speed")), 20.0)
    assert charts(server).keys() == {"losses: head", "speed"}
    panel.show((), 30.0)
    assert not charts(server)


def test_the_last_plots_before_everything_stands_still_are_shown(server):
    panel = PlotPanel(server)
    panel.show((plot("x", 1.0),), 10.0)
    panel.show((plot("x", 2.0),), 10.0 + PLOT_PERIOD / 2)
    assert charts(server) == {"x": 1.0}
    panel.catch_up(10.0 + 2 * PLOT_PERIOD)
    assert charts(server) == {"x": 2.0}
    panel.show((), 20.0)


def test_a_picture_that_the_frame_has_no_more_is_gone(server):
    panel, image = PicturePanel(server), np.zeros((8, 8, 3), np.uint8)
    panel.show((Picture("front", image), Picture("wrist", image)))
    assert pictures(server) == {"front", "wrist"}
    panel.show((Picture("front", image),))
    assert pictures(server) == {"front"}


def test_a_path_that_the_frame_has_no_more_is_gone(server):
    view, way = SceneView(server, lambda *_: None), np.eye(3)
    both = (Path("executed", way, (0, 0, 255)), Path("predicted", way, (255, 0, 0)))
    for paths in (both, both[:1]):
        view.draw(Frame(taken=0.0, status=Status("shown"), paths=paths))
        shown = {name for name in server.scene._handle_from_node_name if name.startswith("/paths/")}
        assert shown == {f"/paths/{path.name}" for path in paths}


def test_parts_that_come_and_go_need_no_new_names(server):
    view = SceneView(server, lambda *_: None)
    for _ in range(5):  # as objects that change their shape do
        part = Part("slot0", np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.uint32), (1.0, 0.0, 0.0, 1.0))
        view.draw(Frame(taken=0.0, status=Status("shown"), scene=Scene(parts=(part,))))
        shown = {name for name in server.scene._handle_from_node_name if name.startswith("/bodies/slot0/")}
        assert shown == {"/bodies/slot0/1"}
