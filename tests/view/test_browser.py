"""The page in a real Chromium: some of the actions of the benchmark `view-browser`, which plays all of them."""

from __future__ import annotations

import shutil
import threading

import pytest

from benchmarks.view.actions import ACTIONS
from benchmarks.view.browser_tab import Tab, driver
from sim.policies import RandomPolicy
from vla_agent.view.sources.simulator import SimulatorSettings, SimulatorSource
from vla_agent.view.window import Window

PLAYED = ("opens", "starts", "stops", "marks success", "space after a click counts once", "Enter tells the policy")


@pytest.fixture(scope="module")
def tab():
    """A tab on a page that this process serves."""
    pytest.importorskip("selenium.webdriver")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("needs chromium and chromedriver (apt-get install chromium chromium-driver)")
    source, end = SimulatorSource(SimulatorSettings("random", seed=3), RandomPolicy()), threading.Event()
    window = Window(source, port=0)
    window.start()
    drawing = threading.Thread(target=window.draw_until, args=(end,))
    drawing.start()
    chrome = driver(1000, 760)
    yield Tab(chrome, window.url)
    chrome.quit()
    end.set()
    drawing.join()
    window.stop()


@pytest.mark.parametrize("name", PLAYED)
def test_an_action_does_what_it_should(tab, name, tmp_path):
    try:
        ACTIONS[name](tab)
    except Exception:
        tab.screenshot(tmp_path / "screenshot.png")
        print(f"screenshot: {tmp_path / 'screenshot.png'}")
        raise


def test_the_browser_reports_no_errors(tab):
    severe = [entry["message"] for entry in tab.chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert not severe
