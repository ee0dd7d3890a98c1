"""Executing chunks: from chunks that arrive late and overlap in time to one action a control step.

Imports numpy and scipy only: the simulator and the robot's node use the same code.
"""

from vla_agent.policy.execution.chunk_executor import MODES, ChunkExecutor
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.execution.seams import delay_steps, hold

__all__ = ["MODES", "ChunkExecutor", "Committed", "delay_steps", "hold"]
