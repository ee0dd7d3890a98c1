"""What a person does in the page of `vla-agent view`, each with what must come of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.view.browser_tab import Tab, difference
from benchmarks.view.gizmo import click_at, drag_along_x, place_of_the_object

Action = Callable[[Tab], None]
DARK = "return getComputedStyle(document.documentElement).colorScheme"
FOCUS = "[...document.querySelectorAll('button')].find(b => b.textContent.trim() === arguments[0]).focus()"
PHONE, DESKTOP = (390, 844), (1000, 760)


def opens(tab: Tab) -> None:
    tab.open()
    assert "simulator" in tab.chrome.title, tab.chrome.title
    tab.wait_status("stopped")
    assert tab.facts()["time"].startswith("0.00 s"), tab.facts()


def shows_both_cameras(tab: Tab) -> None:
    assert difference(tab.picture(0), tab.picture(1)) > 5


def draws_maps(tab: Tab) -> None:
    tab.unfold("Shown")
    for label in ("pointing maps", "points", "named things"):
        before = tab.picture()
        tab.toggle(label)
        tab.wait_picture(before)
    tab.toggle("pointing maps")
    tab.toggle("points")
    tab.toggle("named things")


def hides_paths(tab: Tab) -> None:
    _changes_the_view(tab, "paths: executed blue, planned orange")


def hides_cameras(tab: Tab) -> None:
    _changes_the_view(tab, "cameras in space")
    tab.unfold("Shown")


def _changes_the_view(tab: Tab, label: str) -> None:
    before = tab.view()
    tab.toggle(label)
    tab.wait(lambda: tab.view() != before, "another 3-D view")
    tab.toggle(label)


def starts(tab: Tab) -> None:
    tab.press("start / stop")
    tab.wait(lambda: tab.seconds() > 0.1, "time that passes")


def moves_in_space(tab: Tab) -> None:
    before = tab.view()
    tab.wait(lambda: tab.view() != before, "a moving 3-D view")


def stops(tab: Tab) -> None:
    tab.press("start / stop")
    tab.wait(lambda: _stands(tab), "time that stands")


def _stands(tab: Tab) -> bool:
    before = tab.facts()["time"]
    time.sleep(0.6)
    return tab.facts()["time"] == before


def makes_one_step(tab: Tab) -> None:
    resets(tab)
    before = tab.seconds()
    tab.press("one step")
    tab.wait(lambda: tab.seconds() > before, "one step")
    assert tab.seconds() - before < 0.11, (before, tab.seconds())


def resets(tab: Tab) -> None:
    tab.press("reset")
    tab.wait(lambda: tab.seconds() == 0, "time 0")


def takes_the_next_scene(tab: Tab) -> None:
    seed, before = tab.value("seed"), tab.facts()["judged by"]
    tab.press("next scene")
    tab.wait(lambda: tab.value("seed") == seed + 1, "the next seed")
    tab.wait(lambda: tab.facts()["judged by"] != before, "another task")


def marks_success(tab: Tab) -> None:
    tab.press("mark success")
    tab.wait_fact("your marks", "1 success")


def marks_failure(tab: Tab) -> None:
    tab.press("mark failure")
    tab.wait_fact("your marks", "1 failure")


def space_starts_and_stops(tab: Tab) -> None:
    tab.blur()
    before = tab.seconds()
    tab.key("space")
    tab.wait(lambda: tab.seconds() > before, "time that passes")
    tab.key("space")
    tab.wait(lambda: _stands(tab), "time that stands")


def key_t_steps(tab: Tab) -> None:
    before = tab.seconds()
    tab.key("t")
    tab.wait(lambda: tab.seconds() > before, "one step")


def key_r_resets(tab: Tab) -> None:
    tab.key("r")
    tab.wait(lambda: tab.seconds() == 0, "time 0")


def key_n_takes_the_next_scene(tab: Tab) -> None:
    seed = tab.value("seed")
    tab.key("n")
    tab.wait(lambda: tab.value("seed") == seed + 1, "the next seed")


def key_y_marks_success(tab: Tab) -> None:
    tab.key("y")
    tab.wait_fact("your marks", "2 success")


def key_f_marks_failure(tab: Tab) -> None:
    tab.key("f")
    tab.wait_fact("your marks", "2 failure")


def space_after_a_click_counts_once(tab: Tab) -> None:
    tab.press("reset")
    tab.wait(lambda: tab.seconds() == 0, "time 0")
    tab.key("space")  # the button that was clicked has the focus
    tab.wait(lambda: tab.seconds() > 0.0, "time that passes: space started, and pressed no button")
    tab.key("space")
    tab.wait(lambda: _stands(tab), "time that stands")


def space_presses_a_button_reached_by_tab(tab: Tab) -> None:
    """The button is pressed, and the simulation is not started besides."""
    tab.key("tab")  # whoever moves by keys has pressed this one
    tab.chrome.execute_script(FOCUS, "one step")
    before = tab.seconds()
    tab.key("space")
    tab.wait(lambda: tab.seconds() > before, "one step")
    time.sleep(0.8)
    assert tab.seconds() - before < 0.11, "space did two things"
    tab.blur()


def typing_presses_no_keys(tab: Tab) -> None:
    seed, marks = tab.value("seed"), tab.facts()["your marks"]
    tab.type("instruction", "turn every tiny fruit", enter=False)
    time.sleep(1.0)
    assert tab.value("seed") == seed and tab.facts()["your marks"] == marks
    assert tab.typed("instruction") == "turn every tiny fruit"


def enter_tells_the_policy(tab: Tab) -> None:
    tab.type("instruction", "open the drawer")
    tab.wait_fact("instruction", "open the drawer")
    tab.blur()


def the_button_tells_the_policy(tab: Tab) -> None:
    tab.type("instruction", "close the drawer", enter=False)
    tab.press("tell the policy")
    tab.wait_fact("instruction", "close the drawer")


def an_empty_instruction_is_refused(tab: Tab) -> None:
    tab.type("instruction", " ")
    tab.wait(lambda: "the instruction is empty" in tab.troubles(), "the refusal")
    assert tab.facts()["instruction"] == "close the drawer"
    tab.blur()


def what_is_not_there_is_doubted(tab: Tab) -> None:
    """The policy holds still, and the page says why in words."""
    tab.type("instruction", "put the black star on the black cube")
    tab.wait_status("holds still: I see no black")
    assert not tab.troubles(), "an error is not shown any longer than until the next command"
    tab.blur()


def german_is_read(tab: Tab) -> None:
    tab.type("instruction", "öffne die Schublade")
    tab.wait_fact("read as", "drawer")
    tab.blur()


def the_expert_drives_to_success(tab: Tab) -> None:
    tab.press("next scene")
    tab.choose("who drives", "expert")
    tab.slide("speed, x", 4)
    tab.press("start / stop")
    tab.wait_status("success")


def start_after_the_end_begins_again(tab: Tab) -> None:
    tab.slide("speed, x", 0.5)
    tab.press("start / stop")
    tab.wait(lambda: "success" not in tab.status(), "the episode from its beginning")


def nobody_drives(tab: Tab) -> None:
    tab.press("reset")
    tab.choose("who drives", "nobody")
    tab.press("start / stop")
    tab.wait(lambda: tab.seconds() > 1.0, "time that passes")
    tab.press("reset")
    tab.choose("who drives", "policy")
    assert tab.chosen("who drives") == "policy"


def speed_is_kept(tab: Tab) -> None:
    tab.slide("speed, x", 1)
    tab.press("reset")
    tab.wait(lambda: tab.seconds() == 0, "time 0")
    assert tab.value("speed, x") == 1


def chooses_a_task(tab: Tab) -> None:
    tab.choose("task", "stack")
    tab.wait_fact("judged by", "stack")


def chooses_a_seed(tab: Tab) -> None:
    seed, before = tab.value("seed"), tab.facts()["judged by"]
    tab.nudge("seed", "arrow_right")
    tab.wait(lambda: tab.value("seed") == seed + 1 and tab.facts()["judged by"] != before, "another scene")


def chooses_an_object(tab: Tab) -> None:
    names = [name for name in tab.options("object") if name != "none"]
    before = tab.view()
    tab.choose("object", names[0])
    tab.wait(lambda: tab.view() != before, "arrows at the object")
    tab.wait(lambda: f"{tab.chosen('its colour')} {tab.chosen('its shape')}" in names[0], "its colour and shape")


def changes_its_colour(tab: Tab) -> None:
    new = "purple" if tab.chosen("its colour") != "purple" else "green"
    before = tab.picture()
    tab.choose("its colour", new)
    tab.wait(lambda: tab.chosen("object").startswith(new), "its new name")
    tab.wait_picture(before)


def changes_its_shape(tab: Tab) -> None:
    new = "bottle" if tab.chosen("its shape") != "bottle" else "cube"
    tab.choose("its shape", new)
    tab.wait(lambda: tab.chosen("object").endswith(new), "its new name")


def what_is_judged_stays(tab: Tab) -> None:
    tab.press("remove it")
    tab.wait(lambda: "cannot be removed" in tab.troubles(), "the refusal")


def adds_an_object(tab: Tab) -> None:
    before = len(tab.options("object"))
    tab.press("add an object")
    tab.wait(lambda: len(tab.options("object")) == before + 1, "one more object")


def removes_an_object(tab: Tab) -> None:
    names = tab.options("object")
    tab.choose("object", names[-1])
    tab.press("remove it")
    tab.wait(lambda: len(tab.options("object")) == len(names) - 1, "one object less")


def drags_an_object(tab: Tab) -> None:
    tab.open()  # the viewer stands where a new one does
    names = [name for name in tab.options("object") if name != "none"]
    tab.choose("object", names[0])
    before, place = tab.picture(), place_of_the_object(tab)
    drag_along_x(tab, place)
    tab.wait(lambda: place_of_the_object(tab)[0] > place[0] + 0.02, "an object that was dragged along x")
    tab.wait_picture(before)


def clicks_an_object(tab: Tab) -> None:
    """One of the objects: others may stand before it."""
    tab.open()
    places = {}
    for name in [name for name in tab.options("object") if name != "none"]:
        tab.choose("object", name)
        tab.wait_fact("object", name)
        places[name] = place_of_the_object(tab)
    tab.choose("object", "none")
    tab.wait(lambda: "object" not in tab.facts(), "no object")

    def one_is_chosen() -> bool:
        for name, place in places.items():
            click_at(tab, place)
            time.sleep(3.0)
            if tab.chosen("object") == name:
                return True
        return False

    tab.wait(one_is_chosen, "an object that was clicked")


def _dims(label: str, value: float, back: float) -> Action:
    def act(tab: Tab) -> None:
        before = tab.picture()
        tab.slide(label, value)
        tab.wait_picture(before)
        tab.slide(label, back)

    return act


def unfolds_the_light(tab: Tab) -> None:
    tab.unfold("Light, camera, table")


def lays_a_pattern_on_the_table(tab: Tab) -> None:
    before = tab.picture()
    tab.choose("table", "checks")
    tab.wait_picture(before)
    tab.choose("table", "plain")


def varies_the_scene(tab: Tab) -> None:
    tab.unfold("Variations of the gate")
    tab.choose("variation", "lighting")
    tab.wait_fact("variation", "lighting, severity 2")


def varies_it_more(tab: Tab) -> None:
    tab.slide("severity", 3)
    tab.wait_fact("variation", "lighting, severity 3")


def an_impossible_variation_is_refused(tab: Tab) -> None:
    tab.choose("task", "open_drawer")
    tab.wait_fact("judged by", "open_drawer")
    tab.choose("variation", "removed")
    tab.wait(lambda: "cannot be applied" in tab.troubles(), "the refusal")
    tab.wait(lambda: tab.chosen("variation") == "lighting", "the variation of before")
    tab.choose("variation", "none")
    tab.choose("task", "put_in_tray")


def plots_run(tab: Tab) -> None:
    tab.press("Plots")
    tab.press("start / stop")
    tab.wait(
        lambda: tab.chrome.execute_script("return document.querySelectorAll('.uplot canvas').length") >= 3, "plots"
    )
    before = tab.chrome.execute_script("return document.querySelector('.uplot canvas').toDataURL()")
    tab.wait(
        lambda: tab.chrome.execute_script("return document.querySelector('.uplot canvas').toDataURL()") != before,
        "a plot that runs",
    )
    tab.press("start / stop")
    tab.press("Cameras")
    tab.picture()


def dark_and_light(tab: Tab) -> None:
    before = tab.chrome.execute_script(DARK)
    tab.press("dark / light")
    tab.wait(lambda: tab.status() and tab.chrome.execute_script(DARK) not in (before, None), "the other scheme")
    scheme = tab.chrome.execute_script("return document.documentElement.dataset.mantineColorScheme")
    assert scheme == tab.chrome.execute_script(DARK)
    tab.press("dark / light")
    tab.wait(lambda: tab.status() and tab.chrome.execute_script(DARK) == before, "the scheme of before")


def reloading_keeps_the_state(tab: Tab) -> None:
    tab.wait(lambda: tab.facts().get("your marks"), "facts")
    before = {name: tab.facts()[name] for name in ("your marks", "judged by", "time")}
    tab.open()
    tab.wait(lambda: {name: tab.facts().get(name) for name in before} == before, "the same state")


def fits_a_phone(tab: Tab) -> None:
    """Nothing is cut off sideways, and start is within reach."""
    _resize(tab, PHONE)
    tab.open()
    tab.wait(
        lambda: tab.chrome.execute_script("return document.documentElement.scrollWidth") <= PHONE[0], "a narrow page"
    )
    before = tab.seconds()
    tab.press("start / stop")
    tab.wait(lambda: tab.seconds() > before, "time that passes")
    tab.press("start / stop")


def returns_to_the_desk(tab: Tab) -> None:
    _resize(tab, DESKTOP)
    tab.open()
    resets(tab)


def _resize(tab: Tab, size: tuple[int, int]) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    tab.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def a_second_viewer_sees_the_same(tab: Tab) -> None:
    first = tab.chrome.current_window_handle
    facts = tab.facts()
    tab.chrome.switch_to.new_window("tab")
    try:
        tab.open()
        tab.wait(lambda: tab.facts().get("judged by") == facts["judged by"], "the same task")
        tab.press("mark success")
        tab.wait(lambda: tab.facts()["your marks"] != facts["your marks"], "one more mark")
    finally:
        tab.chrome.close()
        tab.chrome.switch_to.window(first)
    tab.wait(lambda: tab.facts()["your marks"] != facts["your marks"], "what the other viewer did")


ACTIONS: dict[str, Action] = {
    "opens": opens,
    "shows both cameras": shows_both_cameras,
    "draws maps, points and boxes, or not": draws_maps,
    "hides the paths": hides_paths,
    "hides the cameras in space": hides_cameras,
    "starts": starts,
    "moves in space": moves_in_space,
    "stops": stops,
    "makes one step": makes_one_step,
    "resets": resets,
    "takes the next scene": takes_the_next_scene,
    "marks success": marks_success,
    "marks failure": marks_failure,
    "space starts and stops": space_starts_and_stops,
    "key t steps": key_t_steps,
    "key r resets": key_r_resets,
    "key n takes the next scene": key_n_takes_the_next_scene,
    "key y marks success": key_y_marks_success,
    "key f marks failure": key_f_marks_failure,
    "space after a click counts once": space_after_a_click_counts_once,
    "space presses a button that Tab reached": space_presses_a_button_reached_by_tab,
    "typing presses no keys": typing_presses_no_keys,
    "Enter tells the policy": enter_tells_the_policy,
    "the button tells the policy": the_button_tells_the_policy,
    "an empty instruction is refused": an_empty_instruction_is_refused,
    "what is not there is doubted, in words": what_is_not_there_is_doubted,
    "German is read": german_is_read,
    "the expert drives to success": the_expert_drives_to_success,
    "start after the end begins again": start_after_the_end_begins_again,
    "nobody drives": nobody_drives,
    "speed is kept": speed_is_kept,
    "chooses a task": chooses_a_task,
    "chooses a seed by arrow key": chooses_a_seed,
    "chooses an object": chooses_an_object,
    "changes its colour": changes_its_colour,
    "changes its shape": changes_its_shape,
    "what is judged cannot be removed": what_is_judged_stays,
    "adds an object": adds_an_object,
    "removes an object": removes_an_object,
    "drags an object by the mouse": drags_an_object,
    "clicks an object in space": clicks_an_object,
    "unfolds light and camera": unfolds_the_light,
    "brightness": _dims("brightness, x", 0.4, 1.0),
    "lamp from the side": _dims("lamp from the side", 1.0, 0.0),
    "warm light": _dims("warm light", 0.5, 0.0),
    "front camera sideways": _dims("front camera, sideways, m", 0.1, 0.0),
    "front camera up": _dims("front camera, up, m", 0.1, 0.0),
    "front camera turned": _dims("front camera, turned, deg", 10, 0),
    "a pattern on the table": lays_a_pattern_on_the_table,
    "a variation of the gate": varies_the_scene,
    "a stronger variation": varies_it_more,
    "an impossible variation is refused": an_impossible_variation_is_refused,
    "plots run": plots_run,
    "dark and light": dark_and_light,
    "reloading keeps the state": reloading_keeps_the_state,
    "fits a phone": fits_a_phone,
    "returns to the desk": returns_to_the_desk,
    "a second viewer sees the same": a_second_viewer_sees_the_same,
}
