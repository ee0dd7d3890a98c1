"""Ring buffers of plots, and pictures with what a policy sees on them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vla_agent.view.history import History
from vla_agent.view.overlays import draw, enlarged
from vla_agent.view.source import Box, Picture


@given(st.integers(0, 40), st.integers(1, 12))
def test_the_last_samples_are_kept_in_order(count, length):
    history = History("h", ("a", "b"), length)
    for k in range(count):
        history.add(k, {"a": 10.0 * k})
    plot = history.plot()
    kept = np.arange(max(0, count - length), count)
    assert plot.x.tolist() == kept.tolist()
    assert plot.lines["a"].tolist() == (10.0 * kept).tolist()
    assert np.isnan(plot.lines["b"]).all()


def test_a_plot_is_a_copy():
    history = History("h", ("a",), 3)
    history.add(0, {"a": 1.0})
    plot = history.plot()
    history.clear()
    history.add(9, {"a": 9.0})
    assert plot.x.tolist() == [0.0] and plot.lines["a"].tolist() == [1.0]


GREY = np.full((96, 96, 3), 100, np.uint8)


def test_small_pictures_grow_by_a_whole_factor():
    assert enlarged(GREY).shape == (288, 288, 3)
    assert enlarged(np.zeros((480, 640, 3), np.uint8)).shape == (480, 640, 3)


def test_a_map_is_drawn_where_it_is_large():
    maps = np.zeros((2, 24, 24))
    maps[0, 6, 6] = 1.0
    drawn = draw(Picture("front", GREY, maps), points=False).astype(int)
    assert drawn[78, 78, 0] > 180 > drawn[200, 200, 0] == 100, "orange at the peak, the image elsewhere"


def test_points_are_paler_where_they_are_not_seen():
    points = np.array([[0.5, 0.5], [0.25, 0.25]])

    def ring(seen: float) -> float:
        drawn = draw(Picture("front", GREY, points=points, seen=np.array([seen, 1.0])), maps=False).astype(int)
        return float(drawn[130:160, 130:160, 0].max())

    assert ring(1.0) > ring(0.0) + 30


def test_boxes_are_drawn_where_asked():
    picture = Picture("front", GREY, boxes=(Box("red mug 90%", (0.1, 0.1, 0.4, 0.4)),))
    assert (draw(picture) == 100).all()
    assert (draw(picture, boxes=True) != 100).any()


def test_a_picture_of_a_policy_without_maps_stays_as_it_is():
    assert (draw(Picture("front", GREY)) == 100).all()
