"""A tab of headless Chromium on the page of `vla-agent view`, used as a person would: by labels, keys and the mouse."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

PATIENCE = 60.0  # seconds for the page to do what was asked, on a busy machine without a GPU
CHANGED = 0.1  # of 255, on average: a small object at another place
COARSE = "fixedDpr=0.15"  # the 3-D view in few pixels: Chromium draws it in software here
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
)
ROW = """
const label = [...document.querySelectorAll("label")].find(l => l.textContent.trim() === arguments[0]);
return label ? label.closest(".mantine-Flex-root") : null;
"""
FACTS = """
return Object.fromEntries([...document.querySelectorAll(".view tr")].map(r =>
  [r.querySelector("th").textContent, r.querySelector("td").textContent]));
"""
BRIGHTNESS = """
const row = [...document.querySelectorAll("img")].filter(i => i.naturalWidth > 100)[arguments[0]];
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 48;
const pen = canvas.getContext("2d");
pen.drawImage(row, 0, 0, 48, 48);
return [...pen.getImageData(0, 0, 48, 48).data];
"""


def driver(width: int = 1000, height: int = 760) -> Any:
    """A headless Chromium.

    Raises:
        OptionError: Chromium or its driver is not installed.
    """
    from selenium import webdriver

    chromium, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not service:
        raise OptionError(
            "there is no browser to test with",
            expected="chromium and chromedriver",
            found="not on PATH",
            remedy="apt-get install chromium chromium-driver",
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (*SWITCHES, f"--window-size={width},{height}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(service))
    chrome.set_script_timeout(2 * PATIENCE)
    return chrome


class Tab:
    """One tab.  Every method waits for what it needs, `PATIENCE` at most, and raises `AssertionError` after that."""

    def __init__(self, chrome: Any, url: str) -> None:
        self.chrome, self.url = chrome, url

    def open(self) -> None:
        """Load the page, and wait for its first state."""
        self.chrome.get(self.url + ("&" if "?" in self.url else "?") + COARSE)
        self.wait(lambda: self.status(), "a first state")
        for close in self.chrome.find_elements("css selector", ".mantine-Notification-closeButton"):
            self.chrome.execute_script("arguments[0].click()", close)  # that WebGL is drawn in software

    def wait(self, holds: Callable[[], Any], what: str) -> Any:
        """The first true value of ``holds()``."""
        from selenium.common.exceptions import WebDriverException

        end, last = time.monotonic() + PATIENCE, "never true"
        while time.monotonic() < end:
            try:
                if value := holds():
                    return value
            except WebDriverException as error:  # the page was just drawn anew
                last = str(error).splitlines()[0]
            time.sleep(0.1)
        raise AssertionError(f"waited {PATIENCE:.0f} s for {what}: {last}; the page says {self.said()}")

    def said(self) -> str:
        """Everything that the page says of its state."""
        found = self.chrome.execute_script("return [...document.querySelectorAll('.view')].map(v => v.innerText)")
        return " | ".join(found).replace("\n", "; ")

    def status(self) -> str:
        return self.chrome.execute_script("return document.querySelector('.view-status')?.textContent ?? ''")

    def wait_status(self, words: str) -> None:
        self.wait(lambda: words in self.status(), f"the state '{words}'")

    def facts(self) -> dict[str, str]:
        """Name -> text of the details."""
        return self.chrome.execute_script(FACTS)

    def wait_fact(self, name: str, words: str) -> None:
        self.wait(lambda: words in self.facts().get(name, ""), f"{name}: {words}")

    def troubles(self) -> str:
        return self.chrome.execute_script(
            "return [...document.querySelectorAll('.trouble')].map(t => t.textContent).join('; ')"
        )

    def seconds(self) -> float:
        """Time of the episode."""
        return float(self.facts()["time"].split(" s")[0])

    # -- using it --------------------------------------------------------------------------------------------------

    def press(self, label: str) -> None:
        """Click the button with this label."""
        path = f"//button[normalize-space()='{label}'] | //*[@role='tab'][normalize-space()='{label}']"
        self.click(lambda: self.chrome.find_element("xpath", path), label)

    def click(self, find: Callable[[], Any], what: str) -> None:
        """Bring an element into view and click it."""

        def clicked() -> bool:  # again, where something moved before it or it was drawn anew
            element = find()
            if not element:
                return False
            self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(clicked, what)

    def row(self, label: str) -> Any:
        return self.wait(lambda: self.chrome.execute_script(ROW, label), f"the control '{label}'")

    def unfold(self, label: str) -> None:
        """Open or close a folder."""
        path = f"//div[contains(@class, 'Paper-root')][normalize-space(text())='{label}']"
        self.click(lambda: self.chrome.find_element("xpath", path), label)
        time.sleep(0.4)

    def choose(self, label: str, option: str) -> None:
        """Choose in a list."""
        row = self.row(label)
        self.click(lambda: row.find_element("css selector", "input[role=combobox]"), label)
        path = f"//*[@role='option'][normalize-space()='{option}']"

        def visible() -> Any:
            return next((e for e in self.chrome.find_elements("xpath", path) if e.is_displayed()), None)

        self.click(visible, f"{label}: {option}")

    def chosen(self, label: str) -> str:
        return self.row(label).find_element("css selector", "input[role=combobox]").get_attribute("value")

    def options(self, label: str) -> list[str]:
        """What can be chosen; opens the list and closes it."""
        self.click(lambda: self.row(label).find_element("css selector", "input[role=combobox]"), label)
        shown = self.wait(self._shown_options, "options")
        self.key("escape")
        return shown

    def _shown_options(self) -> list[str]:
        found = self.chrome.find_elements("css selector", "[role=option]")
        return [e.text for e in found if e.is_displayed()]

    def slide(self, label: str, value: float) -> None:
        """Type a slider's value into its number, as a person would who wants exactly this one."""
        from selenium.webdriver.common.keys import Keys

        row = self.row(label)
        box = row.find_element("css selector", "input.mantine-NumberInput-input")
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
        box.click()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(f"{value:g}", Keys.ENTER)
        self.blur()

    def nudge(self, label: str, key: str, times: int = 1) -> None:
        """Move a slider by the arrow keys."""
        from selenium.webdriver.common.keys import Keys

        thumb = self.row(label).find_element("css selector", "[role=slider]")
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", thumb)
        for _ in range(times):
            thumb.send_keys(getattr(Keys, key.upper()))
        self.blur()

    def value(self, label: str) -> float:
        return float(self.row(label).find_element("css selector", "[role=slider]").get_attribute("aria-valuenow"))

    def toggle(self, label: str) -> None:
        row = self.row(label)
        box = row.find_element("css selector", "input[type=checkbox]")
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", box)

    def type(self, label: str, words: str, enter: bool = True) -> None:
        """Replace the text of a box."""
        from selenium.webdriver.common.keys import Keys

        box = self.row(label).find_element("css selector", "input")
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
        box.click()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.DELETE)
        box.send_keys(words)
        if enter:
            box.send_keys(Keys.ENTER)

    def typed(self, label: str) -> str:
        return self.row(label).find_element("css selector", "input").get_attribute("value")

    def key(self, name: str) -> None:
        """Press a key where the focus is; ``space`` and ``escape`` by name."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        keys = {"space": " ", "escape": Keys.ESCAPE, "tab": Keys.TAB, "enter": Keys.ENTER}
        ActionChains(self.chrome).send_keys(keys.get(name, name)).perform()

    def blur(self) -> None:
        """Take the focus from whatever has it."""
        self.chrome.execute_script("document.activeElement?.blur()")

    # -- looking ---------------------------------------------------------------------------------------------------

    def picture(self, number: int = 0) -> list[int]:
        """RGBA of a camera's picture, 48 x 48 of it."""
        return self.wait(lambda: self.chrome.execute_script(BRIGHTNESS, number), "a picture")

    def wait_picture(self, differs_from: list[int], number: int = 0) -> None:
        """Until the picture is another one."""
        self.wait(lambda: difference(self.picture(number), differs_from) > CHANGED, "another picture")

    def view(self) -> bytes:
        """The 3-D view as PNG."""
        return self.chrome.find_element("css selector", "canvas[data-engine]").screenshot_as_png

    def screenshot(self, file: Path) -> None:
        """Keep a picture of the page, where the browser is not too busy to make one."""
        from selenium.common.exceptions import WebDriverException

        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(WebDriverException):
            self.chrome.save_screenshot(str(file))


def difference(a: list[int], b: list[int]) -> float:
    """Mean absolute difference of two pictures, of 255."""
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
