"""Why an episode failed: one failure mode per failed episode, decided from what `sim.tasks.events` tracked.

==============  ======================================================================================================
failure mode    rule (the first that holds, from top to bottom)
==============  ======================================================================================================
refused         the policy held still since it did not see what the instruction names (`vla_agent.policy.doubt`)
wrong_object    another object was lifted; or, where something is to be pushed, another object was pushed and the target
                was not, or the target ended in another zone; or another button was pressed; or, where the drawer is
                asked for, an object was lifted and the drawer did not move
timeout         at the end the gripper still holds (or pushes) the target: right so far, not finished
dropped         the target was held and fell at least `FALL` after it was last let go
never_grasped   a target was never lifted (never moved, where it is to be pushed; nothing was pressed; the drawer did
                not move)
wrong_place     the target was lifted, or moved, and lies elsewhere; the drawer moved, not far enough or the wrong way
==============  ======================================================================================================

Targets that are already where they should be are left out.  Where several rules hold, the first one decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sim.tasks.events import Events, ObjectEvents

FAILURES = ("refused", "never_grasped", "wrong_object", "dropped", "wrong_place", "timeout")
UNKNOWN = "not_done"  # of an environment that tracks no events
LIFT = 0.03  # metres: an object held this much higher than it started was lifted
FALL = 0.05  # metres: lost after the last hold; setting down loses less
PUSH = 0.02  # metres: an object displaced this far was pushed
DRAWER = 0.10  # fraction of the drawer's travel


def classify(success: bool, events: Events | None, refused: bool = False) -> str | None:
    """The failure mode of an episode, None where it succeeded; ``refused``: whether the policy held still in it.

    Without ``events``, which an environment may not track, other failures are `UNKNOWN`.
    """
    if success or refused:
        return None if success else "refused"
    if events is None:
        return UNKNOWN
    targets = [events.objects[name] for name in events.targets if name not in events.done]
    others = [o for name, o in events.objects.items() if name not in events.targets]
    other_lifted = any(o.lifted >= LIFT for o in others)
    if events.kind == "button":
        wrong = set(events.buttons) - set(events.goal_colours)
        return "wrong_object" if wrong or other_lifted else "never_grasped"
    if events.kind == "drawer" and abs(events.drawer[1]) >= DRAWER:
        return "wrong_place"
    if other_lifted:
        return "wrong_object"
    if events.kind == "drawer":
        return "never_grasped"
    return _pushing_failure(events, targets, others) if events.kind == "push" else _carrying_failure(targets)


def refusal_line(episodes: Iterable[Mapping[str, Any]]) -> str:
    """``refused: 3; I see no red mug (2), ...`` of a report's episodes; "" where the policy refused nothing.

    An episode counts where it is labelled "refused", with the reason that it ended with; three reasons are named.
    """
    refused = [e for e in episodes if e["control"] == "policy" and e["failure"] == "refused"]
    reasons = Counter(e["refusals"][-1][1] for e in refused if e.get("refusals"))
    named = [f"{reason} ({number})" for reason, number in reasons.most_common(3)]
    more = [f"{len(reasons) - 3} other reasons"] if len(reasons) > 3 else []
    return f"refused: {len(refused)}; {', '.join([*named, *more])}" if refused else ""


def _pushing_failure(events: Events, targets: Sequence[ObjectEvents], others: Sequence[ObjectEvents]) -> str:
    moved = any(t.moved >= PUSH for t in targets)
    elsewhere = any(t.in_zone and t.in_zone not in events.goal_colours for t in targets)
    if elsewhere or (not moved and any(o.moved >= PUSH for o in others)):
        return "wrong_object"
    if moved and any(t.touched_at_end for t in targets):
        return "timeout"
    return "wrong_place" if moved else "never_grasped"


def _carrying_failure(targets: Sequence[ObjectEvents]) -> str:
    if any(t.held_at_end for t in targets):
        return "timeout"
    if any(t.fell >= FALL for t in targets):
        return "dropped"
    if any(t.lifted < LIFT for t in targets):
        return "never_grasped"
    return "wrong_place"
