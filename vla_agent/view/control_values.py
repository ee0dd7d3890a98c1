"""Values that viewers send, brought into the range of their control or refused: a browser can send anything."""

from __future__ import annotations

import math
from typing import Any

from vla_agent.errors import OptionError
from vla_agent.view.source import Choice, Control, Handle, Slider, TextBox, Toggle, Value

LONGEST = 2000  # characters of a text


def checked(control: Control, value: Any, options: tuple[str, ...] = ()) -> Value:
    """The value as the source gets it; a number out of a slider's range becomes the nearest in it.

    Args:
        options: of a choice, as they are now.

    Raises:
        OptionError: the control has no such value.
    """
    if isinstance(control, Slider) and _is_number(value):
        return min(max(float(value), control.low), control.high)
    if isinstance(control, Choice) and isinstance(value, str) and value in (options or control.options):
        return value
    if isinstance(control, Toggle) and isinstance(value, bool):
        return value
    if isinstance(control, TextBox) and isinstance(value, str) and len(value) <= LONGEST:
        return value
    if isinstance(control, Handle) and isinstance(value, tuple) and len(value) == 3 and all(map(_is_number, value)):
        return float(value[0]), float(value[1]), float(value[2])
    raise OptionError("the control has no such value", key=control.name, found=str(value)[:100])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
