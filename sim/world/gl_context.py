"""OpenGL contexts for off-screen rendering.  Each is freed at the latest when the process ends, before the driver."""

from __future__ import annotations

import atexit
import importlib
import os
from contextlib import suppress
from typing import Any

import mujoco

from sim import BACKENDS, INSTALL
from vla_agent.errors import SimulatorError


class RenderContext:
    """An OpenGL context of the backend that MUJOCO_GL names, with MuJoCo's own context in it.

    Attributes:
        mujoco: MuJoCo's context, which owns textures, meshes and the off-screen buffer.

    Raises:
        SimulatorError: no such backend, or it does not work on this machine.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        _free_abandoned()
        backend = os.environ.get("MUJOCO_GL", "").lower()
        try:
            if backend not in BACKENDS:
                raise ValueError(f"no such backend; valid are {', '.join(BACKENDS)}")
            self._gl: Any = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
            self._gl.make_current()
            self.mujoco = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # the backends raise whatever their bindings raise
            raise SimulatorError(
                "the renderer cannot start",
                key=f"MUJOCO_GL={backend}",
                expected=f"a working OpenGL backend of {', '.join(BACKENDS)}",
                found=f"{type(error).__name__}: {error}",
                remedy=INSTALL,
            ) from error
        if not _registered:  # only now: what is registered after the backend's own exit function runs before it
            _registered.append(atexit.register(_free_all))
        _open.add(self)

    def make_current(self) -> None:
        """Direct this thread's OpenGL calls to this context."""
        self._gl.make_current()

    def free(self) -> None:
        """Free everything; a second call does nothing."""
        if self not in _open:
            return
        _open.discard(self)
        with suppress(Exception):  # current in another thread: the driver then frees the objects with the context
            self._gl.make_current()  # MuJoCo deletes by number in the current context, which may be another renderer's
            self.mujoco.free()
        with suppress(Exception):
            self._gl.free()

    def abandon(self) -> None:
        """Free it later, when no other renderer is at work: the garbage collector may call this at any moment."""
        _abandoned.append(self)


_open: set[RenderContext] = set()
_abandoned: list[RenderContext] = []
_registered: list[object] = []


def _free_abandoned() -> None:
    while _abandoned:
        _abandoned.pop().free()


def _free_all() -> None:
    for context in list(_open):
        context.free()
