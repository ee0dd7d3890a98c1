"""Misbehaving clients, one after the other, while a good client keeps sending requests and must get correct chunks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.shared.case_results import case_result

NAME = "policy-serve-faults"
TITLE = "malformed, oversized, slow, disconnecting, unauthenticated clients: the server goes on serving the good one"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
LEAST_CASES = 20
AFTERWARDS = 3  # correct chunks that the good client must get after each case


def run() -> dict[str, Any]:
    from benchmarks.serving.serve_clients import TOKEN
    from benchmarks.serving.serve_faults import CLIENTS
    from vla_agent.serving.server import PolicyServer
    from vla_agent.serving.server_limits import Limits

    limits = Limits(message_bytes=2**20, clients=4, idle_s=3.0, send_s=3.0)
    rows = []
    with PolicyServer(served(), "random", port=0, token=TOKEN, limits=limits) as server:
        good = GoodClient(server.url, TOKEN)
        for name, client in CLIENTS.items():
            good.slowest = 0.0
            try:
                wrong = client(server)
            except Exception as error:  # of any kind: this case failed
                wrong = f"{type(error).__name__}: {error}"
            wrong = "; ".join(part for part in (wrong, good.after(AFTERWARDS)) if part)
            rows.append({"case": name, "good client's slowest answer, s": good.slowest, "fault": wrong})
            if good.fault:
                good = GoodClient(server.url, TOKEN)
        good.end()
    passed = sum(not row["fault"] for row in rows)
    notes = (
        "one server for all cases, the policy `random`; every chunk of the good client is compared with the "
        "same policy's in this process, and each bad client must get an error or be disconnected as documented"
    )
    return case_result(rows, passed, LEAST_CASES, notes)


def served() -> Any:
    """The policy `random`, which fails or takes a second for some instructions."""
    from dataclasses import replace

    from sim.policies import RandomPolicy
    from vla_agent.contract.tabletop import tabletop_contract

    class Served(RandomPolicy):
        contract = replace(tabletop_contract(), chunk_length=8)

        def reset(self, instruction: str, seed: int = 0) -> None:
            super().reset(instruction, seed)
            self.instruction = instruction

        def act(self, observation: Mapping[str, Any]) -> Any:
            if self.instruction == "fail":
                raise RuntimeError("as instructed")
            if self.instruction == "think":
                time.sleep(1.0)
            return super().act(observation)

    return Served()


class GoodClient:
    """Sends twenty requests a second in a thread, and compares each chunk with the local policy's."""

    def __init__(self, url: str, token: str) -> None:
        from vla_agent.serving.remote_policy import RemotePolicy

        self._remote, self._local = RemotePolicy(url, token), served()
        for policy in (self._remote, self._local):
            policy.reset("open the drawer", seed=0)
        self.answers, self.slowest, self.fault = 0, 0.0, ""
        self._ending = False
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        import numpy as np

        from benchmarks.serving.serve_clients import request

        observation = request(self._remote.contract, prompt=None)
        try:
            while not self._ending:
                start = time.monotonic()
                chunk = self._remote.act(observation)
                self.slowest = max(self.slowest, time.monotonic() - start)
                if not np.array_equal(chunk, self._local.act(observation)):
                    raise ValueError("the chunk differs from the policy's own")
                self.answers += 1
                time.sleep(0.05)
        except Exception as error:  # of any kind: the good client was not served
            self.fault = f"the good client: {type(error).__name__}: {error}"

    def after(self, count: int) -> str:
        """Wait for ``count`` more correct chunks; returns the fault, or an empty text."""
        until = self.answers + count
        deadline = time.monotonic() + 60
        while self.answers < until and not self.fault:
            if time.monotonic() > deadline:
                return "the good client was not answered for 60 s"
            time.sleep(0.01)
        return self.fault

    def end(self) -> None:
        """Stop sending requests."""
        self._ending = True
        self._thread.join()
        self._remote.close()
