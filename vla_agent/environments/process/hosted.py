"""The parent: an environment that lives in another process, behind the same protocol."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.environments.process.pipe import Pipe
from vla_agent.errors import EnvironmentFault, ServingError

OPENS_WITHIN = ANSWERS_WITHIN = 900.0  # seconds; the first reset of LIBERO compiles for minutes on a busy machine
TAIL = 1500  # characters of the process's own words in an error
RENDERING = {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl", "LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}


class HostedEnvironment:
    """`vla_agent.environments.protocol.Environment` in a child process.

    Args:
        python: the interpreter that has the environment's packages.
        place: ``module:factory``, ``FILE.py:factory`` or ``FILE.yaml``.
        options: keyword arguments of the factory.

    Raises:
        EnvironmentFault: it cannot be opened.
    """

    def __init__(self, python: Path, place: str, options: Mapping[str, str]) -> None:
        self._place = place
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        command = [str(python), "-I", "-m", "vla_agent.environments.process.server", place, json.dumps(dict(options))]
        self._child: subprocess.Popen[bytes] | None = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=RENDERING | kept,
            start_new_session=True,  # Ctrl-C is the parent's
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._pipe = Pipe(self._child.stdout.fileno(), self._child.stdin.fileno())
        introduced = self._reply(OPENS_WITHIN)
        self.contract = Contract.from_dict(introduced["contract"], place)
        self.source: dict[str, str] = dict(introduced["source"])
        self._offers = tuple(introduced["offers"])
        self._limits: dict[str, int] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The optional methods that the environment offers."""
        if name.startswith("_") or name not in self.__dict__.get("_offers", ()):
            raise AttributeError(name)
        return partial(self._call, name)

    def tasks(self) -> list[str]:
        return list(self._call("tasks"))

    def limit(self, task: str) -> int:
        if task not in self._limits:
            self._limits[task] = self._call("limit", task)
        return self._limits[task]

    def reset(self, task: str, seed: int) -> str:
        return self._call("reset", task, int(seed))

    def observe(self, images: bool = True) -> dict[str, Any]:
        return self._call("observe", images=bool(images))

    def step(self, action: np.ndarray) -> bool:
        return self._call("step", np.asarray(action))

    def close(self) -> None:
        """End the process; it closes its environment first."""
        child, self._child = self._child, None
        if child is None:
            return
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._words.close()

    def __del__(self) -> None:
        if self.__dict__.get("_child") is not None:
            self.close()

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._child is None:
            raise self._fault("the environment is closed", "an open one", "close() was called", "open it again")
        try:
            self._pipe.send({"call": name, "arguments": list(arguments), "options": options})
        except OSError as error:
            raise self._died() from error
        return _writable(self._reply(ANSWERS_WITHIN))

    def _reply(self, within: float) -> Any:
        try:
            reply = self._pipe.receive(within)
        except EOFError as error:
            raise self._died() from error
        except TimeoutError as error:
            self._end()
            found = f"nothing for {within:.0f} s"
            raise self._fault("the environment does not answer", "a reply", found, "run it alone") from error
        except (ValueError, ServingError) as error:
            self._end()
            remedy = "return plain data and arrays of numbers"
            raise self._fault("the environment sends what cannot be read", "a message", error, remedy) from error
        if "error" in reply:
            told = reply["error"]
            remedy = told.pop("remedy", None) or "vla-agent env check names all faults"
            raise EnvironmentFault(told.pop("what"), **told, remedy=remedy)
        return reply["value"]

    def _died(self) -> EnvironmentFault:
        words = self._end()
        return self._fault(
            "the environment's process has ended", "a process that lives until close()", words, "see its last words"
        )

    def _end(self) -> str:
        """Kill the process; its last words."""
        assert self._child is not None
        self._child.kill()
        code = self._child.wait()
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - TAIL))
        words = self._words.read().decode("utf-8", "replace").strip()
        self.close()
        return f"exit code {code}: {words or 'it said nothing'}"

    def _fault(self, what: str, expected: str, found: object, remedy: str) -> EnvironmentFault:
        return EnvironmentFault(what, file=self._place, expected=expected, found=found, remedy=remedy)


def _writable(value: Any) -> Any:
    """Copies of the arrays, which are views of the message."""
    if isinstance(value, dict):
        return {key: _writable(one) for key, one in value.items()}
    return np.array(value) if isinstance(value, np.ndarray) else value
