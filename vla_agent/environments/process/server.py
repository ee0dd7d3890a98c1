"""The child: opens an environment and answers calls until its parent closes the pipe.

``python -I -m vla_agent.environments.process.server PLACE OPTIONS``.  Needs numpy, msgpack and the environment's own
packages: no torch, no evaluation.  What the environment prints goes to standard error, never between the messages.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from vla_agent.environments.opening_here import Opened, open_here
from vla_agent.environments.process.pipe import Pipe
from vla_agent.environments.protocol import NEEDED, offered
from vla_agent.errors import ServingError, VlaAgentError

TOLD = ("what", "file", "key", "expected", "found", "remedy")


def main() -> int:
    """Exit code 0 after the parent has closed the pipe."""
    reading, writing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a question of a benchmark gets no answer
    os.dup2(2, 1)
    pipe = Pipe(reading, writing)
    try:
        opened = open_here(sys.argv[1], json.loads(sys.argv[2]))
        pipe.send({"value": introduction(opened)})
    except BaseException as error:
        pipe.send({"error": told(error)})
        return 1
    environment = opened.environment
    allowed = {*NEEDED, *offered(environment)} - {"contract", "bind", "film", "events"}
    try:
        while True:
            reply = answer(environment, allowed, pipe.receive())
            try:
                pipe.send(reply)
            except ServingError as error:  # a value that no message holds; nothing was written
                pipe.send({"error": told(error)})
    except (EOFError, BrokenPipeError):
        return 0
    finally:
        environment.close()


def introduction(opened: Opened) -> dict[str, Any]:
    """What the parent must know at once."""
    environment = opened.environment
    names = [name for name in offered(environment) if name not in ("bind", "film", "events")]
    return {"contract": environment.contract.to_dict(), "offers": names, "source": opened.source}


def answer(environment: Any, allowed: set[str], call: Any) -> dict[str, Any]:
    """The reply to one call: a value, or an error in words."""
    try:
        name, arguments, options = call["call"], call["arguments"], call["options"]
        if name not in allowed:
            raise AttributeError(f"{name}: not one of {', '.join(sorted(allowed))}")
        return {"value": getattr(environment, name)(*arguments, **options)}
    except Exception as error:
        return {"error": told(error)}


def told(error: BaseException) -> dict[str, Any]:
    """An error as plain data, with the last lines of its trace."""
    if isinstance(error, VlaAgentError):
        return {name: getattr(error, name) for name in TOLD}
    trace = traceback.extract_tb(error.__traceback__)
    place = f"{trace[-1].filename}:{trace[-1].lineno}" if trace else None
    return {"what": "the environment raised an error", "file": place, "found": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    sys.exit(main())
