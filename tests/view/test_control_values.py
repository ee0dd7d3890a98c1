"""What a browser sends is in its control's range, or refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_agent.errors import OptionError
from vla_agent.view.control_values import LONGEST, checked
from vla_agent.view.source import Button, Choice, Handle, Slider, TextBox, Toggle

SPEED = Slider("speed", "speed", 0.1, 4.0, 0.1, 1.0)
TASK = Choice("task", "task", ("stack", "push"), "stack")
NOTE, SHOWN, PLACE = TextBox("note", "note"), Toggle("shown", "shown", True), Handle("place", "place")
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.tuples(st.floats(), st.floats())


@pytest.mark.parametrize(("typed", "got"), [(0, 0.1), (-5, 0.1), (0.1, 0.1), (2.5, 2.5), (4.0, 4.0), (99, 4.0)])
def test_a_number_out_of_range_becomes_the_nearest(typed, got):
    assert checked(SPEED, typed) == got


@given(ANYTHING)
def test_a_slider_gives_numbers_in_its_range_alone(value):
    try:
        assert 0.1 <= checked(SPEED, value) <= 4.0
    except OptionError:
        assert isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)


@given(ANYTHING)
def test_the_others_give_their_kind_alone(value):
    for control, kind in ((TASK, str), (NOTE, str), (SHOWN, bool), (PLACE, tuple)):
        try:
            found = checked(control, value)
        except OptionError:
            continue
        assert isinstance(found, kind) and found == value


def test_a_choice_is_one_of_its_options_of_now():
    assert checked(TASK, "push") == "push"
    assert checked(TASK, "lift", ("lift",)) == "lift"
    for options in ((), ("lift",)):
        with pytest.raises(OptionError, match="task"):
            checked(TASK, "gone", options)
    with pytest.raises(OptionError):
        checked(TASK, "push", ("lift",))


def test_a_text_has_an_end():
    assert checked(NOTE, "x" * LONGEST) == "x" * LONGEST
    with pytest.raises(OptionError):
        checked(NOTE, "x" * (LONGEST + 1))


def test_a_place_is_three_finite_numbers():
    assert checked(PLACE, (1, 2.0, 3)) == (1.0, 2.0, 3.0)
    for value in ((1.0, 2.0), (1.0, math.nan, 2.0), (1.0, math.inf, 2.0), ("1", 2.0, 3.0)):
        with pytest.raises(OptionError):
            checked(PLACE, value)


def test_a_button_has_no_value():
    with pytest.raises(OptionError):
        checked(Button("go", "go"), True)
