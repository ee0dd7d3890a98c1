"""Executing chunks: from chunks that a policy computes, late and overlapping, to one action a control step.

Imports numpy only: the simulator and the robot's node drive with the same code.
"""

from vla_agent.execution.delay import delay_steps
from vla_agent.execution.executor import MODES, ChunkExecutor
from vla_agent.execution.hold import hold
from vla_agent.execution.realtime import Committed

__all__ = ["MODES", "ChunkExecutor", "Committed", "delay_steps", "hold"]
