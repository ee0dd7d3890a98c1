"""The schema of a task file: reading, checking, and errors that name file, line, key and the valid names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sim.tasks.predicates import CONTAINERS, DIRECTIONS, Predicate, check_argument, parse
from sim.tasks.suggestions import suggest
from sim.world.scene import COLOURS, OBJECT_REGION, SHAPES
from vla_agent.errors import TaskError
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.recipe_file import Strict

CHOICE_SOURCES = ("buttons", "zones", "objects")

Range = tuple[float, float]
Names = Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]


class ObjectSpec(Strict):
    """A role.  ``shapes``/``colours``: ``all``, a list, or (colours) the name of a choice: the chosen colour."""

    shapes: Names = ["all"]
    colours: Names = ["all"]
    x: Range = OBJECT_REGION[0]
    y: Range = OBJECT_REGION[1]


class DistractorSpec(Strict):
    """How many further objects, and choices whose colour they must not have."""

    count: tuple[int, int] = (2, 4)
    not_colours: Names = []


class StartSpec(Strict):
    """``drawer_open``: range or ``any``; ``not``: predicates that must not hold; ``free``: room that must be free."""

    drawer_open: Range | None = Field(default=None)
    not_: list[str] = Field(default=[], alias="not")
    hold: list[str] = []
    free: list[dict[str, str]] = []


class WordingSpec(Strict):
    train: list[str] = Field(min_length=1)
    held_out: list[str] = []


class FamilySpec(Strict):
    """A whole task file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    choose: dict[str, Names] = {}
    objects: dict[str, ObjectSpec] = {}
    distractors: DistractorSpec = DistractorSpec()
    start: StartSpec = StartSpec()
    wordings: WordingSpec
    goal: str
    time_limit: int = Field(gt=0, le=10_000)
    expert: list[Any] = Field(min_length=1)


# skill -> argument -> kind of name; `place` takes one of three forms.
SKILLS: dict[str, tuple[dict[str, str], ...]] = {
    "pick": ({"object": "role"},),
    "place": ({"in": "container"}, {"on": "support"}, {"beside": "role", "direction": "direction"}),
    "lift": ({"object": "role"},),
    "push": ({"object": "role", "to": "zone"},),
    "pull_drawer": ({},),
    "push_drawer": ({},),
    "press": ({"colour": "colour"},),
    "gather": ({"colour": "colour", "into": "container"},),
}
FREE_FORMS: tuple[dict[str, str], ...] = ({"beside": "role", "direction": "direction"}, {"lane": "role", "to": "zone"})


class SourceLines:
    """Finds the line of a key in the file."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path, self.data = path, data

    def at(self, loc: Iterable[Any]) -> str:
        """``path:line`` of the key path ``loc``, or of the deepest part of it that the file has."""
        node, line = self.data, 0
        for key in loc:
            try:
                if isinstance(node, CommentedMap):
                    line = node.lc.key(key)[0] if key in node else line
                elif isinstance(node, CommentedSeq):
                    line = node.lc.item(key)[0]
                node = node[key]
            except (KeyError, IndexError, TypeError, AttributeError):
                break
        return f"{self.path}:{line + 1}"


def read(path: str | Path) -> tuple[FamilySpec, SourceLines]:
    """Read and check one task file.

    Raises:
        TaskError: the file is missing, is no YAML, or breaks the schema; with ``file:line``, key and the valid names.
    """
    path = Path(path)
    try:
        data = read_yaml(path, TaskError, "rt")
    except OSError as error:
        raise TaskError(
            "the task file cannot be read",
            file=path,
            expected="a YAML text file that describes one task family",
            found=getattr(error, "strerror", None) or "not UTF-8 text",
            remedy="check the path",
        ) from error
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        raise TaskError(
            "the task file is not valid YAML",
            file=path if mark is None else f"{path}:{mark.line + 1}",
            key=None if mark is None else f"column {mark.column + 1}",
            expected="YAML",
            found=str(getattr(error, "problem", None) or error).strip(),
            remedy="fix the line; quote text that holds ': ' or begins with '{'",
        ) from error
    lines = SourceLines(path, data)
    if not isinstance(data, dict):
        raise TaskError(
            "the task file has no keys",
            file=f"{path}:1",
            expected=", ".join(_keys(FamilySpec)),
            found=type(data).__name__,
            remedy="start from a copy of a file in sim/tasks/tabletop",
        )
    start = data.get("start")
    plain = dict(data)
    if isinstance(start, dict) and start.get("drawer_open") == "any":
        plain["start"] = {k: v for k, v in start.items() if k != "drawer_open"}
    try:
        spec = FamilySpec.model_validate(plain)
    except ValidationError as error:
        # a misspelt key is also a missing one: report the misspelling
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise _schema_error(first, lines) from error
    _check(spec, lines)
    return spec, lines


def _keys(model: type[BaseModel]) -> list[str]:
    return [f.alias or name for name, f in model.model_fields.items()]


_MODELS: dict[str, type[BaseModel]] = {
    "objects": ObjectSpec,
    "distractors": DistractorSpec,
    "start": StartSpec,
    "wordings": WordingSpec,
}


def _schema_error(error: Any, lines: SourceLines) -> TaskError:
    """A pydantic error as a TaskError with line and valid names."""
    loc = tuple(error["loc"])
    key = ".".join(str(p) for p in loc)
    model = _MODELS.get(str(loc[0]), FamilySpec) if len(loc) > 1 else FamilySpec
    if error["type"] == "extra_forbidden":
        valid = _keys(model)
        what, expected, found, remedy = "there is no such key", ", ".join(valid), loc[-1], suggest(loc[-1], valid)
    elif error["type"] == "missing":
        what, expected, found = "a key is missing", loc[-1], "nothing"
        remedy = f"add '{loc[-1]}:'; sim/tasks/tabletop has examples"
    else:
        what, expected, found = "a value is wrong", error["msg"], repr(error["input"])
        remedy = "see docs/tasks.md for what the key takes"
    return TaskError(what, file=lines.at(loc), key=key, expected=expected, found=found, remedy=remedy)


def _check_names(
    names: Iterable[str], valid: Iterable[str], what: str, lines: SourceLines, loc: tuple[Any, ...]
) -> None:
    valid = list(valid)
    for name in names:
        if name not in valid:
            raise TaskError(
                f"there is no such {what}",
                file=lines.at(loc),
                key=".".join(map(str, loc)),
                expected=", ".join(valid),
                found=name,
                remedy=suggest(name, valid),
            )


def _check(spec: FamilySpec, lines: SourceLines) -> None:
    """Check names that refer to other parts of the file, and ranges."""
    for name, source in spec.choose.items():
        valid = (*CHOICE_SOURCES, *COLOURS, *DIRECTIONS)
        _check_names(source, valid, "source or value of a choice", lines, ("choose", name))
    for role, o in spec.objects.items():
        _check_names([role], [role] if role.isidentifier() else ["a plain name"], "role", lines, ("objects", role))
        _check_names(o.shapes, ("all", *SHAPES), "shape", lines, ("objects", role, "shapes"))
        _check_names(o.colours, ("all", *COLOURS, *spec.choose), "colour", lines, ("objects", role, "colours"))
        for axis, limits in (("x", OBJECT_REGION[0]), ("y", OBJECT_REGION[1])):
            _check_range(getattr(o, axis), limits, lines, ("objects", role, axis))
    _check_names(spec.distractors.not_colours, spec.choose, "choice", lines, ("distractors", "not_colours"))
    _check_range(spec.distractors.count, (0, 5), lines, ("distractors", "count"))
    if spec.start.drawer_open is not None:
        _check_range(spec.start.drawer_open, (0.0, 1.0), lines, ("start", "drawer_open"))
    if len(spec.objects) + spec.distractors.count[1] > 5:
        raise TaskError(
            "the scene would hold too many objects",
            file=lines.at(("distractors", "count")),
            key="distractors.count",
            expected=f"at most {5 - len(spec.objects)} beside the {len(spec.objects)} named",
            found=spec.distractors.count[1],
            remedy="lower the count",
        )
    for which in ("train", "held_out"):
        for i, wording in enumerate(getattr(spec.wordings, which)):
            slots = re.findall(r"\{(\w*)\}", wording)
            _check_names(slots, [*spec.objects, *spec.choose], "slot", lines, ("wordings", which, i))
    expressions(spec, lines)
    _check_pick_and_place([skill(entry, spec, lines, ("expert", i))[0] for i, entry in enumerate(spec.expert)], lines)
    for i, room in enumerate(spec.start.free):
        _match_form(room, FREE_FORMS, spec, lines, ("start", "free", i))


def _check_range(pair: tuple[float, float], limits: Range, lines: SourceLines, loc: tuple[Any, ...]) -> None:
    low, high = pair
    if not limits[0] <= low <= high <= limits[1]:
        raise TaskError(
            "the range is invalid",
            file=lines.at(loc),
            key=".".join(map(str, loc)),
            expected=f"[low, high] with {limits[0]} <= low <= high <= {limits[1]}",
            found=list(pair),
            remedy="fix the two numbers",
        )


def _check_pick_and_place(skills: list[str], lines: SourceLines) -> None:
    for i, name in enumerate(skills):
        if name == "pick" and skills[i + 1 : i + 2] != ["place"]:
            what, expected = "a pick has no place after it", "pick: role, then place: {...}"
            remedy = "add where to place the object, or write lift: role to hold it up"
        elif name == "place" and skills[:i][-1:] != ["pick"]:
            what, expected, remedy = "a place has no pick before it", "pick: role, then place: {...}", "add the pick"
        else:
            continue
        raise TaskError(
            what, file=lines.at(("expert", i)), key=f"expert.{i}", expected=expected, found=name, remedy=remedy
        )


def expressions(spec: FamilySpec, lines: SourceLines) -> dict[str, tuple[Predicate, ...]]:
    """Parse the goal and the start conditions: ``{"goal": ..., "not": ..., "hold": ...}``."""
    out = {"goal": parse(spec.goal, spec.objects, spec.choose, file=lines.at(("goal",)), key="goal")}
    for key, texts in (("not", spec.start.not_), ("hold", spec.start.hold)):
        found: list[Predicate] = []
        for i, text in enumerate(texts):
            where = lines.at(("start", key, i))
            found += parse(text, spec.objects, spec.choose, file=where, key=f"start.{key}.{i}")
        out[key] = tuple(found)
    return out


def skill(entry: Any, spec: FamilySpec, lines: SourceLines, loc: tuple[Any, ...]) -> tuple[str, dict[str, str]]:
    """One entry of ``expert`` as (name, arguments).

    Raises:
        TaskError: unknown skill or argument.
    """
    name, value = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
    _check_names([name], SKILLS, "skill", lines, loc)
    forms = SKILLS[name]
    if isinstance(value, str) and len(forms) == 1 and len(forms[0]) == 1:  # `pick: target`
        value = {next(iter(forms[0])): value}
    return name, _match_form(value or {}, forms, spec, lines, (*loc, name))


def _match_form(
    value: Any, forms: tuple[dict[str, str], ...], spec: FamilySpec, lines: SourceLines, loc: tuple[Any, ...]
) -> dict[str, str]:
    key = ".".join(map(str, loc))
    for form in forms:
        if isinstance(value, dict) and set(value) == set(form):
            for arg, kind in form.items():
                check_argument(value[arg], kind, spec.objects, spec.choose, file=lines.at(loc), key=f"{key}.{arg}")
            return {k: str(v) for k, v in value.items()}
    names = list(dict.fromkeys(arg for form in forms for arg in form))
    unknown = [arg for arg in value if arg not in names] if isinstance(value, dict) else []
    hint = f"{suggest(unknown[0], names)}; " if unknown and names else ""
    written = " or ".join("{" + ", ".join(f"{k}: <{v}>" for k, v in form.items()) + "}" for form in forms)
    raise TaskError(
        "the arguments do not fit",
        file=lines.at(loc),
        key=key,
        expected=written,
        found=dict(value) if isinstance(value, dict) else value,
        remedy=f"{hint}containers: {', '.join(CONTAINERS)}; roles: {', '.join(spec.objects) or 'none declared'}",
    )
