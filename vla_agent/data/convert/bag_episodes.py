"""Episodes of a bag: stretches between outcome marks, resampled to control periods, each with a report of its gaps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.bag_reader import BagContent, Series, named_sources, read_bag, read_images
from vla_agent.data.convert.conversion_report import ConvertedEpisode
from vla_agent.data.convert.field_vectors import Forward, field_values, vectors
from vla_agent.data.convert.mapping import FieldSource, Mapping
from vla_agent.data.convert.synchronise import longest_stretch, match, periods
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError

APART = "there is no time at which every source has messages"


def bag_episodes(path: Path, mapping: Mapping, forward: Forward | None) -> Iterator[ConvertedEpisode]:
    """The episodes of one bag, in order of time.

    Raises:
        DatasetError: the bag is damaged; a topic, a message or the instruction does not fit the mapping; or the sources
            were never recorded at the same time.
    """
    number = 0
    takes = read_bag(path, mapping)
    for take, content in enumerate(takes):
        more = {"take": take + 1, "takes": len(takes)} if len(takes) > 1 else {}
        try:
            for episode, report in _take_episodes(path, content, mapping, forward, number):
                number += 1
                yield episode, report | more
        except DatasetError as error:
            if not more or error.what != APART:
                raise
            left_out = {
                "from": path.name,
                "number": number,
                "success": None,
                "left_out": f"{error.what}: {error.found}",
            }
            number += 1
            yield None, left_out | more


def _take_episodes(
    path: Path, content: BagContent, mapping: Mapping, forward: Forward | None, counted: int
) -> Iterator[ConvertedEpisode]:
    """The episodes of one take, after ``counted`` others of the bag."""
    first, last = _common_span(path, content, mapping)
    stamps = [t for s in content.series.values() if len(s.stamps) for t in (s.stamps[0], s.stamps[-1])]
    begin, end = min(stamps), max(stamps)
    for number, (start, stop, success) in enumerate(_stretches(content, mapping, last), start=counted):
        report: dict[str, Any] = {"from": path.name, "number": number, "success": success}
        # time outside the common span is unused: some source has not started, or has ended
        outside = max(first - max(begin, start), 0.0) + max(min(end, stop) - last, 0.0)
        report["seconds_outside"] = round(float(outside), 3)
        start, stop = max(first, start), min(last, stop)
        if success is None or (mapping.keep == "success" and not success):
            yield None, report | {"left_out": "no outcome" if success is None else "no success"}
            continue
        yield _episode(path, content, mapping, forward, (start, stop), report)


def _common_span(path: Path, content: BagContent, mapping: Mapping) -> tuple[float, float]:
    """First and last time at which every source has messages."""
    starts, stops = {}, {}
    for name, source in named_sources(mapping):
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
            APART,
            file=path,
            key=f"{late}, {early}",
            expected="topics recorded at the same time, on one clock",
            found=f"{late} begins {first - last:.3f} s after {early} has ended",
            remedy="set stamps: received where the headers come from several clocks, or record again",
        )
    return first, last


def _stretches(content: BagContent, mapping: Mapping, last: float) -> list[tuple[float, float, bool | None]]:
    """(start, stop, success) of each episode; success is None where the recording ended before the outcome."""
    success = mapping.success
    if success is None:
        return [(-np.inf, np.inf, True)]
    if success.custom is not None:
        outcome = content.custom.get(success.custom)
        return [(-np.inf, np.inf, None if outcome is None else str(outcome) == success.value)]
    stretches: list[tuple[float, float, bool | None]] = []
    start = -np.inf
    for time, text in content.marks:
        stretches.append((start, time, text == success.value))
        start = time
    return stretches + ([(start, np.inf, None)] if last - start > 1.0 else [])


def _instruction(path: Path, content: BagContent, mapping: Mapping, stop: float) -> str:
    """The instruction of the episode that ends at ``stop``."""
    where = mapping.instruction
    if where.text is not None:
        text: object = where.text
    elif where.custom is not None:
        text = content.custom.get(where.custom)
    else:
        before = [instruction for time, instruction in content.instructions if time <= stop]
        text = before[-1] if before else None
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(
            "an episode has no instruction",
            file=path,
            key=where.topic or where.custom or "instruction.text",
            expected="a sentence" + (" before the episode's end" if where.topic else ""),
            found="nothing" if text is None else repr(text),
            remedy="give it in the mapping file (instruction: {text: ...}), or name where it was recorded",
        )
    return text.strip()


def _episode(
    path: Path,
    content: BagContent,
    mapping: Mapping,
    forward: Forward | None,
    span: tuple[float, float],
    report: dict[str, Any],
) -> ConvertedEpisode:
    """The episode in ``span`` (start, stop), seconds; completes its ``report``."""
    times = periods(*span, mapping.control_hz)
    matched = {
        name: match(content.series[name].stamps, times, *mapping.rule_of(source))
        for name, source in named_sources(mapping)
    }
    report["sources"] = {
        f"{part}.{name}": m.report | _counted(content.series[part, name]) for (part, name), m in matched.items()
    }
    complete = np.all([m.index >= 0 for m in matched.values()], axis=0) if len(times) else np.zeros(0, bool)
    kept = longest_stretch(complete)
    report |= {"periods": len(times), "frames": kept.stop - kept.start}
    if mapping.gaps == "leave_out" and not complete.all():
        incomplete = [name for name, r in report["sources"].items() if r["gaps"]]
        return None, report | {"left_out": f"gaps in {', '.join(incomplete)}"}
    if report["frames"] < mapping.shortest:
        return None, report | {"left_out": f"only {report['frames']} frames"}
    task = _instruction(path, content, mapping, span[1])
    picked = {name: content.series[name].order[m.index[kept]] for name, m in matched.items()}
    images = read_images(path, mapping.cameras, {c.name: picked["cameras", c.name] for c in mapping.cameras})
    columns, images = vectors(
        mapping,
        lambda part, field: _values(path, content, field, part, matched[part, field.name].index[kept], forward),
        images,
    )
    report["frames"] = len(columns[dataset_schema.ACTION])
    origin = {"source": path.name, "number": report["number"]}
    return Episode(task, columns, images, origin), report | {"instruction": task}


def _counted(series: Series) -> dict[str, int]:
    """What was counted while the messages were read."""
    return {"out_of_order": series.disordered} | ({"empty": series.empty} if series.empty else {})


def _values(
    path: Path, content: BagContent, field: FieldSource, part: str, index: np.ndarray, forward: Forward | None
) -> np.ndarray:
    """A field's values (n, size) from the messages ``index`` (n,)."""
    values = content.series[part, field.name].values
    assert values is not None, "a field's series holds numbers"
    return field_values(field, values[index], forward, path)
