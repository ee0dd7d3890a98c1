"""Suggestions for a misspelt name: a synonym first, then the name with the least edit distance."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# What people write -> the names of task files that mean it; the first that is valid in its place is suggested.
SYNONYMS: dict[str, tuple[str, ...]] = {
    # predicates and placements
    "inside": ("in",),
    "into": ("in", "into"),
    "within": ("in",),
    "contains": ("in",),
    "all_inside": ("all_in",),
    "on_top": ("on",),
    "on_top_of": ("on",),
    "onto": ("on",),
    "above": ("on",),
    "stacked": ("on",),
    "next_to": ("beside",),
    "near": ("beside",),
    "nearby": ("beside",),
    "close_to": ("beside",),
    "by": ("beside",),
    "left": ("left_of", "left of"),
    "right": ("right_of", "right of"),
    "front": ("in_front_of", "in front of"),
    "before": ("in_front_of", "in front of"),
    "in_zone": ("at",),
    "at_zone": ("at",),
    "held": ("lifted",),
    "grasped": ("lifted",),
    "raised": ("lifted",),
    "picked": ("lifted",),
    "opened": ("open",),
    "is_open": ("open",),
    "close": ("closed", "push_drawer"),
    "shut": ("closed", "push_drawer"),
    "is_closed": ("closed",),
    "press": ("pressed",),
    "pushed": ("pressed", "at"),
    # skills
    "grasp": ("pick",),
    "grab": ("pick",),
    "pick_up": ("pick",),
    "take": ("pick",),
    "put": ("place",),
    "put_down": ("place",),
    "set": ("place",),
    "drop": ("place",),
    "release": ("place",),
    "stack": ("place",),
    "raise": ("lift",),
    "lift_up": ("lift",),
    "hold": ("lift",),
    "slide": ("push",),
    "move": ("push",),
    "open": ("pull_drawer",),
    "open_drawer": ("pull_drawer",),
    "pull": ("pull_drawer",),
    "close_drawer": ("push_drawer",),
    "shut_drawer": ("push_drawer",),
    "press_button": ("press",),
    "collect": ("gather",),
    # objects, colours, places
    "box": ("cube", "tray"),
    "brick": ("block",),
    "sphere": ("ball",),
    "can": ("cylinder",),
    "glass": ("cup",),
    "violet": ("purple",),
    "pink": ("purple",),
    "cyan": ("blue",),
    "bin": ("tray",),
    "basket": ("tray",),
    "bowl": ("tray",),
    "plate": ("tray",),
    "cupboard": ("cabinet", "drawer"),
    "shelf": ("cabinet",),
    # keys
    "color": ("colour", "colours"),
    "colors": ("colours",),
    "roles": ("objects",),
    "shape": ("shapes",),
    "clutter": ("distractors",),
    "instruction": ("wordings",),
    "instructions": ("wordings",),
    "prompts": ("wordings",),
    "language": ("wordings",),
    "sentences": ("wordings",),
    "training": ("train",),
    "test": ("held_out",),
    "eval": ("held_out",),
    "success": ("goal",),
    "reward": ("goal",),
    "timeout": ("time_limit",),
    "horizon": ("time_limit",),
    "max_steps": ("time_limit",),
    "steps": ("time_limit",),
    "policy": ("expert",),
    "skills": ("expert",),
    "plan": ("expert",),
    "initial": ("start",),
    "choices": ("choose",),
    "variables": ("choose",),
}


def suggest(word: object, names: Iterable[object]) -> str:
    """How to fix an invalid name: ``did you mean 'in'?``, or a hint to the list of valid ``names``."""
    valid = [str(name) for name in names]
    plain = _plain(str(word))
    candidates = (*[name for name in valid if _plain(name) == plain], *SYNONYMS.get(plain, ()))
    best = next((name for name in candidates if name in valid), None)
    if best is None:
        best = next(iter(get_close_matches(str(word), valid, 1, 0.5)), None)
    return f"did you mean '{best}'?" if best else "use one of the names listed"


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "_", word.strip().lower())
