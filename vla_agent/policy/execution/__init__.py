"""Executing chunks: from chunks that a policy computes, late and overlapping, to one action a control step.

Imports numpy only: the simulator and the robot's node drive with the same code.
"""

from vla_agent.policy.execution.chunk_executor import MODES, ChunkExecutor
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.execution.seams import delay_steps, hold

__all__ = ["MODES", "ChunkExecutor", "Committed", "delay_steps", "hold"]
