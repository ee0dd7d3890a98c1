"""instruction_node: each line typed at the terminal becomes the instruction; an empty line stops the policy.

out: instruction (String, latched)
"""

from __future__ import annotations

import sys
import threading

from std_msgs.msg import String

from vla_agent.nodes.process import LATCHED, Node, run


class InstructionNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("instruction_node")
        self._publisher = self.create_publisher(String, "instruction", LATCHED)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        if sys.stdin.isatty():
            print("type an instruction and Enter; an empty line stops; Ctrl-C ends", flush=True)
        for line in sys.stdin:
            self._publisher.publish(String(data=line.strip()))


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(InstructionNode)
