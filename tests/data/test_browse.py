"""`vla-agent data browse`: a real browser plays, sorts and flags; what it saves, `data edit --drop` takes."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vla_agent.cli import main
from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.browse.shown import EPISODES, choose, jerk, signals, spread
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.errors import OptionError

LENGTHS = (12, 30, 21)
HOSTILE = '</script><img src="https://example.org/x.png" onerror="document.title=\'taken\'">'
CONTRACT = Contract(
    cameras=(Camera("front", 32, 32), Camera("wrist", 32, 32)),
    state=(Field("ee_position", 3, "m", "base"), Field("gripper", 1, "")),
    action=(Field("ee_translation", 3, "m", "base"), Field("gripper", 1, "")),
    control_hz=20.0,
    chunk_length=16,
)


def write(root: Path) -> Path:
    """Episodes of three lengths; the last is jerky, the second has a hostile instruction; images show the frame."""
    rng = np.random.default_rng(0)
    episodes = []
    for number, n in enumerate(LENGTHS):
        line = np.linspace(0, 0.3, n)[:, None] + (0.05 * rng.random((n, 4)) if number == 2 else 0)
        values = np.broadcast_to(line, (n, 4)).astype(np.float32) + np.float32(0.01 * number)
        images = np.full((n, 32, 32, 3), 30, np.uint8)
        for k in range(n):
            images[k, :, : k + 1] = (200, 20, 20)
        task = HOSTILE if number == 1 else f"push cube {number}"
        columns = {dataset_schema.STATE: values, dataset_schema.ACTION: values}
        both = {"front": images, "wrist": images[:, :, ::-1].copy()}
        episodes.append(encode(Episode(task, columns, both, {"seed": number}), "images", 20))
    return write_dataset(root, CONTRACT, episodes, "images", "arm", {})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("browse") / "demos")


@pytest.fixture(scope="module")
def page(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pages") / "page"
    assert main(["data", "browse", str(dataset), "-o", str(out), "--frames", "10"]) == 0
    return out


@pytest.fixture
def browser(page, tmp_path):
    """Headless Chromium on the page; downloads go to ``tmp_path``."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1000"):
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        made.get((page / "index.html").as_uri())
        wait(lambda: "frame 0 of 11" in text(made, "time"))
        yield made
        assert [entry for entry in made.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        made.quit()


def wait(reached, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def text(browser, name: str) -> str:
    return browser.find_element("id", name).text


def press(browser, key: str) -> None:
    browser.find_element("tag name", "body").send_keys(key)


def order(browser) -> list[int]:
    return browser.execute_script("return [...document.querySelectorAll('#rows tr')].map(r => +r.dataset.episode)")


def red(browser, camera: int) -> int:
    """Red columns of 32 in a camera's picture as the screen shows it: the number of the shown frame, plus 1."""
    canvas = browser.find_elements("css selector", "#cameras canvas")[camera]
    pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB")).astype(int)
    row = pixels[len(pixels) // 2]
    return round(32 * float((abs(row[:, 0] - row[:, 2]) > 90).mean()))


def test_the_keyboard_plays_and_steps_and_images_and_plots_follow(browser):
    from selenium.webdriver.common.keys import Keys

    wait(lambda: red(browser, 0) == 1)
    press(browser, Keys.ARROW_RIGHT * 3)
    assert "frame 3 of 11" in text(browser, "time") and red(browser, 0) in (3, 4)
    assert "0.082" in text(browser, "plots"), "the plots show the frame's values"
    press(browser, Keys.END)
    assert "frame 11 of 11" in text(browser, "time") and red(browser, 0) == red(browser, 1) == 12
    press(browser, " ")  # plays from the start, to the end
    wait(lambda: text(browser, "play") == "Pause" or "frame 11" in text(browser, "time"))
    wait(lambda: text(browser, "play") == "Play" and "frame 11 of 11" in text(browser, "time"))
    press(browser, Keys.ARROW_DOWN)
    wait(lambda: "frame 0 of 29" in text(browser, "time"))
    assert HOSTILE in text(browser, "task") and browser.title == "demos", "hostile text is text"
    assert "an image of 10 of them" in text(browser, "about")


def test_the_list_sorts_and_filters_and_fits_a_phone(browser):
    heads = {head.text: head for head in browser.find_elements("css selector", "#heads button")}
    assert order(browser) == [0, 1, 2]
    heads["length"].click()
    assert order(browser) == [1, 2, 0]
    heads = {head.text.split()[0]: head for head in browser.find_elements("css selector", "#heads button")}
    heads["jerk"].click()
    assert order(browser)[0] == 2
    browser.find_element("id", "filter").send_keys("CUBE")
    assert order(browser) == [2, 0]
    browser.set_window_size(500, 900)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_flags_are_saved_and_the_edit_drops_these_episodes(browser, dataset, tmp_path):
    press(browser, "f")
    browser.find_elements("css selector", "#rows input")[2].click()
    browser.find_element("id", "save").click()
    saved = tmp_path / "findings.json"
    wait(saved.exists)
    new = tmp_path / "new"
    assert main(["data", "edit", str(dataset), "--drop", str(saved), "-o", str(new)]) == 0
    assert [(e.task, e.length) for e in load(new).episodes] == [(HOSTILE, LENGTHS[1])]
    assert main(["data", "edit", str(new), "--drop", str(saved), "-o", str(tmp_path / "again")]) == 2


def test_no_file_of_the_page_names_another_host(page):
    for file in (p for p in page.rglob("*") if p.suffix in (".html", ".js", ".css")):
        content = file.read_text()
        assert "<img src=" not in content and "http:" not in content
        assert content.count("https:") == content.count("https://example.org/x.png"), "only the instruction's own"


def test_a_page_replaces_an_earlier_page_and_nothing_else(dataset, page, tmp_path, capsys):
    assert main(["data", "browse", str(dataset), "-o", str(page), "--frames", "10"]) == 0
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    assert main(["data", "browse", str(dataset), "-o", str(tmp_path / "notes")]) == 2
    assert "mine.txt" in capsys.readouterr().err and (tmp_path / "notes" / "mine.txt").read_text() == "keep"


def test_a_recording_without_a_mapping_says_what_is_needed(tmp_path, capsys):
    (tmp_path / "bag").mkdir()
    assert main(["data", "browse", str(tmp_path / "bag"), "-o", str(tmp_path / "page")]) == 2
    assert "--mapping" in capsys.readouterr().err and not (tmp_path / "page").exists()
    assert main(["data", "browse", str(tmp_path / "bag"), "--frames", "1"]) == 2


def test_a_file_of_findings_drops_errors_alone(dataset, tmp_path, capsys):
    finding = {"check": "c", "episode": 1, "frame": 0, "error": True}
    file = tmp_path / "findings.json"

    def edit(data: object, out: str) -> int:
        file.write_text(json.dumps(data))
        return main(["data", "edit", str(dataset), "--drop", str(file), "-o", str(tmp_path / out)])

    warnings = [finding | {"episode": 0, "error": False}, finding | {"episode": None}]
    assert edit([finding, *warnings], "one") == 0
    assert [e.length for e in load(tmp_path / "one").episodes] == [12, 21]
    capsys.readouterr()
    for wrong in (warnings, [finding | {"episode": True}], {"findings": [finding]}, "none", [{"episode": 1}]):
        assert edit(wrong, "two") == 2 and "--drop" in capsys.readouterr().err
    assert edit({"dataset": {"episodes": 3, "frames": 64}, "findings": [finding]}, "two") == 2
    assert "another dataset" in capsys.readouterr().err


def test_what_is_chosen_has_findings_first_and_is_spread():
    chosen = choose(range(1000), None, {7, 501})
    assert len(chosen) == EPISODES and {0, 7, 501, 999} <= set(chosen) and chosen == sorted(chosen)
    assert choose(range(5), None, set()) == [0, 1, 2, 3, 4] and choose(range(5), [3, 1], set()) == [1, 3]
    with pytest.raises(OptionError, match="5"):
        choose(range(5), [5], set())
    assert spread(5, 60).tolist() == [0, 1, 2, 3, 4] and spread(101, 3).tolist() == [0, 50, 100]


def test_jerk_is_zero_on_a_parabola_and_has_no_unit():
    t = np.arange(20.0)[:, None]
    assert jerk(t**2, np.ones(1)) == pytest.approx(0.0)
    assert jerk(t**3, np.full(1, 2.0)) == pytest.approx(3.0) == jerk(1000 * t**3, np.full(1, 2000.0))
    assert jerk(t[:3], np.ones(1)) is None and jerk(t * np.nan, np.ones(1)) is None


def test_components_of_a_field_share_a_plot():
    made = signals("state", ["ee_position.0", "ee_position.1", "gripper"], np.zeros((4, 3)), {"ee_position": "m"})
    assert [(s.title, s.unit, s.names) for s in made] == [
        ("state ee position", "m", ("0", "1")),
        ("state gripper", "", ("gripper",)),
    ]
    assert [s.title for s in signals("state", [str(i) for i in range(10)], np.zeros((4, 10)), {})] == [
        "state (0 to 7)",
        "state (8 to 9)",
    ]
