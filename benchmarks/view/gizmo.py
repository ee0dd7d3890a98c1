"""The mouse in the 3-D view: where a point in space is on the screen, clicking it, dragging it by an arrow."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from benchmarks.view.browser_tab import Tab
from vla_agent.view.page_controls import GIZMO
from vla_agent.view.source import Scene

FOV = 75.0  # degrees, vertical: of viser's view
FAR = 2.0  # of an arrow's length: how far it is dragged


def on_screen(point: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels right and down from the view's middle to a point (3,) in metres, for a viewer who has not moved."""
    start, aim = np.array(Scene().look_from), np.array(Scene().look_at)
    forward = (aim - start) / np.linalg.norm(aim - start)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    offset = point - start
    scale = height / 2 / np.tan(np.deg2rad(FOV) / 2) / (offset @ forward)
    return np.array([offset @ right, offset @ down]) * scale


def place_of_the_object(tab: Tab) -> np.ndarray:
    """(3,) of the chosen object, as the page says it, metres."""
    numbers = re.findall(r"-?\d+\.\d+", tab.wait(lambda: tab.facts().get("object"), "the object's place"))
    return np.array([float(n) for n in numbers[:3]])


def click_at(tab: Tab, point: np.ndarray) -> None:
    """Click a point in space."""
    canvas = _canvas(tab)
    right, down = _pixels(canvas, point)
    mouse = _mouse(tab).move_to_element_with_offset(canvas, right, down).pause(1.0)
    mouse.click_and_hold().pause(0.3).release().perform()


def drag_along_x(tab: Tab, point: np.ndarray) -> None:
    """Drag the arrow along x of what stands at ``point`` outwards."""
    canvas = _canvas(tab)
    grip, end = (_pixels(canvas, point + (share * GIZMO, 0, 0)) for share in (0.8, FAR))
    mouse = _mouse(tab).move_to_element_with_offset(canvas, *grip).pause(0.3).click_and_hold().pause(0.3)
    for share in (0.25, 0.5, 0.75, 1.0):
        between = [round(a + share * (b - a)) for a, b in zip(grip, end, strict=True)]
        mouse = mouse.move_to_element_with_offset(canvas, *between).pause(0.2)
    mouse.release().perform()


def _canvas(tab: Tab) -> Any:
    return tab.chrome.find_element("css selector", "canvas[data-engine]")


def _pixels(canvas: Any, point: np.ndarray) -> tuple[int, int]:
    right, down = on_screen(point, canvas.size["width"], canvas.size["height"])
    return round(right), round(down)


def _mouse(tab: Tab) -> Any:
    from selenium.webdriver.common.action_chains import ActionChains

    return ActionChains(tab.chrome, duration=100)
