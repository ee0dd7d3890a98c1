"""Every planted way around the gate: against functions, running nodes, and `vla-agent verify`."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from benchmarks.bypass import bypass_policy, bypass_run
from benchmarks.certificates import bypass_certificate
from benchmarks.hardware import bypass_nodes
from benchmarks.record import ROOT

NAME = "gate-bypass"
TITLE = "Planted ways around the gate that go through"
TARGET = 0
UNIT = "routes"
BETTER = "lower"
PLACES = (bypass_policy, bypass_certificate, bypass_run, bypass_nodes)
KINDS = {
    1: "a policy folder runs code",
    2: "hashed is not loaded",
    3: "any gate file certifies hardware",
    4: "scratch files are believed",
    5: "revocation fails open",
    6: "seeds are tried first",
    7: "hardware without a certificate is commanded",
}
LEAST = 60  # routes


def run() -> dict[str, Any]:
    """Try each route once.  A route must be refused, and say why.

    Raises:
        RuntimeError: a kind has no route, or there are fewer than `LEAST`.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    rows, tried = [], Counter[int]()
    for place in PLACES:
        for kind, name, route in place.cases():
            tried[kind] += 1
            try:
                answer = " ".join(str(route()).split()).replace(f"{ROOT}/", "")
                through = not answer
            except AssertionError as error:
                answer, through = f"WENT THROUGH: {error}", True
            rows.append(
                {"kind": KINDS[kind], "route": name, "refused": "no" if through else "yes", "reason": answer[:160]}
            )
    if set(tried) != set(KINDS) or len(rows) < LEAST:
        raise RuntimeError(
            f"{len(rows)} routes over the kinds {sorted(tried)}; {LEAST} over {sorted(KINDS)} are wanted"
        )
    open_routes = sum(row["refused"] == "no" for row in rows)
    return {"value": open_routes, "n": len(rows), "interval": None, "seeds": [], "rows": rows}
