"""Success in other languages over success in English, on the same scenes."""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import Case, Setting, families, play_all

NAME = "nano-languages"
TITLE = "success in the worst of four other languages, over English, same scenes"
TARGET = 0.9
UNIT = "ratio"
BETTER = "higher"
LANGUAGES = 4  # one of them in another script


def run() -> dict[str, Any]:
    return measure(Setting())


def measure(setting: Setting) -> dict[str, Any]:
    from sim.perturbations.languages import languages
    from vla_agent.evaluation.success_statistics import rate

    places = [(family, setting.seed + k, k) for k in range(setting.episodes) for family in families()]
    english = rate(p.success for p in play_all([Case(f, s) for f, s, _ in places], setting))
    rows = []
    for code in languages():
        cases = [Case(f, s, f"language-{code}", k) for f, s, k in places]
        found = rate(p.success for p in play_all(cases, setting))
        ratio = found["success"] / english["success"] if english["success"] else 0.0
        rows.append({"language": code, "k": found["k"], "n": found["n"], "over English": ratio})
    worst = min(rows, key=lambda row: row["over English"])
    return {
        "value": worst["over English"],
        "n": sum(row["n"] for row in rows),
        "interval": _ratio_interval((worst["k"], worst["n"]), (english["k"], english["n"])),
        "seeds": setting.seeds,
        "rows": [{"language": "en", "k": english["k"], "n": english["n"], "over English": 1.0}, *rows],
        "notes": f"{len(rows)} of {LANGUAGES} languages have wordings",
        "passed": worst["over English"] >= TARGET and len(rows) >= LANGUAGES,
    }


def _ratio_interval(a: tuple[int, int], b: tuple[int, int]) -> list[float]:
    """Of the ratio of two independent rates, from the Wilson limits of both (Donner and Zou 2012, MOVER-R)."""
    from math import sqrt

    from vla_agent.evaluation.success_statistics import wilson

    (p, q), (l1, u1), (l2, u2) = (a[0] / a[1], b[0] / b[1]), wilson(*a), wilson(*b)
    low = (p * q - sqrt(max(0.0, (p * q) ** 2 - l1 * u2 * (2 * p - l1) * (2 * q - u2)))) / (u2 * (2 * q - u2))
    high = (p * q + sqrt(max(0.0, (p * q) ** 2 - u1 * l2 * (2 * p - u1) * (2 * q - l2)))) / max(l2 * (2 * q - l2), 1e-9)
    return [low, high]
