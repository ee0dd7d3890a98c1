"""Episodes of a bag: stretches between marks, on control periods, each with its instruction and what was missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.bag_reader import BagContent, parts_of, read_bag, read_pictures
from vla_agent.data.convert.field_vectors import Forward, field_values, vectors
from vla_agent.data.convert.mapping import FieldSource, Mapping
from vla_agent.data.convert.synchronise import longest_stretch, match, periods
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError

Outcome = tuple[Episode | None, dict[str, Any]]  # an episode, or None where it is left out; and its report


def bag_episodes(path: Path, mapping: Mapping, forward: Forward | None) -> Iterator[Outcome]:
    """The episodes of one bag, in time.

    Raises:
        DatasetError: damaged; a topic, a message or the instruction is not what the mapping says; sources that were
            never recorded at the same time.
    """
    content = read_bag(path, mapping)
    first, last = _together(path, content, mapping)
    stamps = [t for s in content.series.values() if len(s.stamps) for t in (s.stamps[0], s.stamps[-1])]
    begun, ended = min(stamps), max(stamps)
    for number, (start, stop, success) in enumerate(_stretches(content, mapping, last)):
        report: dict[str, Any] = {"from": path.name, "number": number, "success": success}
        # what lies outside cannot be used: some source has not begun, or has ended
        outside = max(first - max(begun, start), 0.0) + max(min(ended, stop) - last, 0.0)
        report["seconds_outside"] = round(float(outside), 3)
        start, stop = max(first, start), min(last, stop)
        if success is None or (mapping.keep == "success" and not success):
            yield None, report | {"left_out": "no outcome" if success is None else "no success"}
            continue
        yield _episode(path, content, mapping, forward, (start, stop), report)


def _together(path: Path, content: BagContent, mapping: Mapping) -> tuple[float, float]:
    """First and last time at which every source has messages."""
    starts, stops = {}, {}
    for name, source in parts_of(mapping):
        stamps = content.series[name].stamps
        rule, tolerance = mapping.rule_of(source)
        if not len(stamps):
            starts[source.at], stops[source.at] = np.inf, -np.inf
            continue
        starts[source.at] = stamps[0]
        stops[source.at] = stamps[-1] + (tolerance if rule == "hold" else 0.0)
    newest = max((s.stamps[-1] for s in content.series.values() if len(s.stamps)), default=-np.inf)
    first, last = max(starts.values()), min(*stops.values(), newest)
    if first > last:
        late, early = max(starts, key=lambda t: starts[t]), min(stops, key=lambda t: stops[t])
        raise DatasetError(
            "there is no time at which every source has messages",
            file=path,
            key=f"{late}, {early}",
            expected="topics that were recorded together, on one clock",
            found=f"{late} begins {first - last:.3f} s after {early} has ended",
            remedy="say stamps: received where the headers come from several clocks, or record anew",
        )
    return first, last


def _stretches(content: BagContent, mapping: Mapping, last: float) -> list[tuple[float, float, bool | None]]:
    """(start, stop, success) of each episode; success is None where the recording ended before the outcome."""
    success = mapping.success
    if success is None:
        return [(-np.inf, np.inf, True)]
    if success.custom is not None:
        said = content.custom.get(success.custom)
        return [(-np.inf, np.inf, None if said is None else str(said) == success.value)]
    stretches: list[tuple[float, float, bool | None]] = []
    begun = -np.inf
    for time, text in content.marks:
        stretches.append((begun, time, text == success.value))
        begun = time
    return stretches + ([(begun, np.inf, None)] if last - begun > 1.0 else [])


def _instruction(path: Path, content: BagContent, mapping: Mapping, stop: float) -> str:
    where = mapping.instruction
    if where.text is not None:
        said: object = where.text
    elif where.custom is not None:
        said = content.custom.get(where.custom)
    else:
        before = [text for time, text in content.instructions if time <= stop]
        said = before[-1] if before else None
    if not isinstance(said, str) or not said.strip():
        raise DatasetError(
            "an episode has no instruction",
            file=path,
            key=where.topic or where.custom or "instruction.text",
            expected="a sentence" + (" before the episode's end" if where.topic else ""),
            found="nothing" if said is None else repr(said),
            remedy="say it in the mapping file (instruction: {text: ...}), or name where it was recorded",
        )
    return said.strip()


def _episode(
    path: Path,
    content: BagContent,
    mapping: Mapping,
    forward: Forward | None,
    span: tuple[float, float],
    report: dict[str, Any],
) -> Outcome:
    times = periods(*span, mapping.control_hz)
    matched = {
        name: match(content.series[name].stamps, times, *mapping.rule_of(source)) for name, source in parts_of(mapping)
    }
    report["sources"] = {
        f"{part}.{name}": m.report | {"out_of_order": content.series[part, name].disordered}
        for (part, name), m in matched.items()
    }
    whole = np.all([m.index >= 0 for m in matched.values()], axis=0) if len(times) else np.zeros(0, bool)
    kept = longest_stretch(whole)
    report |= {"periods": len(times), "frames": kept.stop - kept.start}
    if mapping.gaps == "leave_out" and not whole.all():
        blamed = [name for name, r in report["sources"].items() if r["gaps"]]
        return None, report | {"left_out": f"gaps in {', '.join(blamed)}"}
    if report["frames"] < mapping.shortest:
        return None, report | {"left_out": f"only {report['frames']} frames"}
    task = _instruction(path, content, mapping, span[1])
    picked = {name: content.series[name].order[m.index[kept]] for name, m in matched.items()}
    pictures = read_pictures(path, mapping.cameras, {c.name: picked["cameras", c.name] for c in mapping.cameras})
    columns, pictures = vectors(
        mapping,
        lambda part, field: _values(path, content, field, part, matched[part, field.name].index[kept], forward),
        pictures,
    )
    report["frames"] = len(columns[dataset_schema.ACTION])
    origin = {"source": path.name, "number": report["number"]}
    return Episode(task, columns, pictures, origin), report | {"instruction": task}


def _values(
    path: Path, content: BagContent, field: FieldSource, part: str, index: np.ndarray, forward: Forward | None
) -> np.ndarray:
    values = content.series[part, field.name].values
    assert values is not None, "a field's series holds numbers"
    return field_values(field, values[index], forward, path)
