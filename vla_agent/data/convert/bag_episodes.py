"""Episodes of a bag: stretches between outcome marks, resampled to control periods, each with a report of its gaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.bag_reader import BagContent, Series, named_sources, read_bag, read_images
from vla_agent.data.convert.conversion_report import (
    FAILED,
    UNENDED,
    ConvertedEpisode,
    LeaveOut,
    told_instructions,
)
from vla_agent.data.convert.field_vectors import Counts, Forward, field_values, vectors
from vla_agent.data.convert.interventions import intervention_columns, read_interventions
from vla_agent.data.convert.mapping import FieldSource, Mapping
from vla_agent.data.convert.synchronise import longest_stretch, match, periods
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError

APART = "there is no time at which every source has messages"


def bag_episodes(
    path: Path, mapping: Mapping, forward: Forward | None, excluded: LeaveOut
) -> Iterator[ConvertedEpisode]:
    """The episodes of one bag, in order of time.  ``excluded`` is asked with an episode's number.

    Raises:
        DatasetError: the bag is damaged; a topic, a message or the instruction does not fit the mapping; or the sources
            were never recorded at the same time.
    """
    number = 0
    takes = read_bag(path, mapping)
    if mapping.intervention is not None:
        marks = read_interventions(path, mapping.intervention)
        takes = [replace(content, interventions=marks) for content in takes]
    for take, content in enumerate(takes):
        more = {"take": take + 1, "takes": len(takes)} if len(takes) > 1 else {}
        try:
            for episode, report in _take_episodes(path, content, mapping, forward, (number, excluded)):
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
    path: Path, content: BagContent, mapping: Mapping, forward: Forward | None, numbering: tuple[int, LeaveOut]
) -> Iterator[ConvertedEpisode]:
    """The episodes of one take; ``numbering``: how many others of the bag went before, and which are left out."""
    counted, excluded = numbering
    first, last = _common_span(path, content, mapping)
    stamps = [t for s in content.series.values() if len(s.stamps) for t in (s.stamps[0], s.stamps[-1])]
    begin, end = min(stamps), max(stamps)
    for number, (start, stop, success) in enumerate(_stretches(content, mapping, last), start=counted):
        report: dict[str, Any] = {"from": path.name, "number": number, "success": success}
        # time outside the common span is unused: some source has not started, or has ended
        outside = max(first - max(begin, start), 0.0) + max(min(end, stop) - last, 0.0)
        report["seconds_outside"] = round(float(outside), 3)
        start, stop = max(first, start), min(last, stop)
        if reason := excluded(number):
            yield None, report | {"left_out": reason}
            continue
        if success is None or (mapping.keep == "success" and not success):
            yield None, report | {"left_out": UNENDED if success is None else FAILED}
            continue
        yield _episode(path, content, mapping, forward, (start, stop), report)


def _common_span(path: Path, content: BagContent, mapping: Mapping) -> tuple[float, float]:
    """First and last time at which every source has messages."""
    starts: dict[str, float] = {}
    stops: dict[str, float] = {}
    for name, source in named_sources(mapping):
        series = content.series[name]
        rule, tolerance = mapping.rule_of(source)
        rows = [rows for _, rows in series.parts()]
        if not all(map(len, rows)):
            begins, ends = [np.inf], [-np.inf]
        else:
            begins = [series.stamps[r[0]] for r in rows]
            ends = [series.stamps[r[-1]] + (tolerance if rule == "hold" else 0.0) for r in rows]
        starts[source.at] = max(starts.get(source.at, -np.inf), *begins)  # several fields may be of one topic
        stops[source.at] = min(stops.get(source.at, np.inf), *ends)
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


def _instructions(
    path: Path, content: BagContent, mapping: Mapping, span: tuple[float, float], times: np.ndarray
) -> tuple[str, ...]:
    """The instruction at each of ``times`` (n,) of the episode in ``span`` (start, stop).

    On a topic, where none or one was said within the episode, it is the last one before the episode's end; where
    several were said, each holds from its time on, and the first one before that, too.
    """
    where = mapping.instruction
    if where.topic is None:
        text: object = where.text if where.text is not None else content.custom.get(str(where.custom))
        return (_sentence(path, mapping, text),) * len(times)
    said = [(time, text) for time, text in content.instructions if time <= span[1]]
    within = [(time, text) for time, text in said if time >= span[0]] or said[-1:] or [(span[0], "")]
    begins = [time for time, _ in within]
    latest = np.maximum(np.searchsorted(begins, times + 1e-6, side="right") - 1, 0)  # 1e-6: rounded stamps
    return tuple(_sentence(path, mapping, within[k][1]) for k in latest.tolist())


def _sentence(path: Path, mapping: Mapping, text: object) -> str:
    where = mapping.instruction
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(
            "an episode has no instruction",
            file=path,
            key=where.topic or where.custom or "instruction.text",
            expected="a sentence" + (" before the episode's end" if where.topic else ""),
            found="nothing" if text in (None, "") else repr(text),
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
    index, report["sources"] = _matched(content, mapping, times)
    complete = np.all([(i >= 0).all(axis=1) for i in index.values()], axis=0) if len(times) else np.zeros(0, bool)
    kept = longest_stretch(complete)
    report |= {"periods": len(times), "frames": kept.stop - kept.start}
    if mapping.gaps == "leave_out" and not complete.all():
        incomplete = [name for name, r in report["sources"].items() if r["gaps"]]
        return None, report | {"left_out": f"gaps in {', '.join(incomplete)}"}
    if report["frames"] < mapping.fewest:
        return None, report | {"left_out": f"only {report['frames']} frames"}
    cameras = {c.name: content.series["cameras", c.name].order for c in mapping.cameras}
    wanted = {name: order[index["cameras", name][kept, 0]] for name, order in cameras.items()}
    images = read_images(path, mapping.cameras, wanted, content.sizes)
    counts: Counts = defaultdict(dict)

    def values(part: str, field: FieldSource) -> np.ndarray:
        table = content.series[part, field.name].values
        assert table is not None, "a field's series holds numbers"
        picked = np.asarray(table[index[part, field.name][kept], np.arange(len(field.pick))])
        return field_values(field, picked, forward, path, counts[f"{part}.{field.name}"])

    columns, images = vectors(mapping, values, images)
    length = len(columns[dataset_schema.ACTION])
    tasks = _instructions(path, content, mapping, span, times[kept][:length])
    if mapping.intervention is not None:
        columns |= intervention_columns(content.interventions, times[kept][:length])
        person = int(columns[dataset_schema.INTERVENTION].sum())
        report["interventions"] = "not recorded" if content.interventions is None else f"{person} frames by a person"
    report |= {"frames": length, "values": {k: v for k, v in counts.items() if v}, **told_instructions(tasks)}
    origin = {"source": path.name, "number": report["number"]}
    return Episode(tasks[0], columns, images, origin, tasks if len(set(tasks)) > 1 else ()), report


def _matched(
    content: BagContent, mapping: Mapping, times: np.ndarray
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, dict[str, Any]]]:
    """Of each source the messages (n, P) of the control periods, -1 for a gap; and the reports.

    A field whose joints come in messages of their own is matched joint by joint, and so reported.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    reports: dict[str, dict[str, Any]] = {}
    for (part, name), source in named_sources(mapping):
        series = content.series[part, name]
        parts = series.parts()
        found[part, name] = np.full((len(times), sum(len(columns) for columns, _ in parts)), -1)
        for columns, rows in parts:
            matched = match(series.stamps[rows], times, *mapping.rule_of(source))
            index = np.append(rows, -1)[matched.index]  # -1 stays -1
            found[part, name][:, columns] = index[:, None]
            joints = f" ({', '.join(str(source.pick[c]) for c in columns)})" if isinstance(source, FieldSource) else ""
            reports[f"{part}.{name}" + (joints if len(parts) > 1 else "")] = matched.report | _counted(series)
    return found, reports


def _counted(series: Series) -> dict[str, float]:
    """What was counted while the messages were read."""
    counted: dict[str, float] = {"out_of_order": series.disordered, "delay": round(series.delay, 3)}
    return counted | ({"empty": series.empty} if series.empty else {})
