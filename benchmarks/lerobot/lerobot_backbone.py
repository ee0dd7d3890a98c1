"""Writes a backbone as LeRobot's transformers (4) reads it, for SmolVLA.  Runs in LeRobot's environment.

usage: python benchmarks/lerobot/lerobot_backbone.py FOLDER; the copy is FOLDER-4-float32, with the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.lerobot.lerobot_smolvla import readable_backbone
from vla_agent.peers.torchvision_names import declare_operators

if __name__ == "__main__":
    declare_operators()
    print(readable_backbone(Path(sys.argv[1]).absolute(), "float32"))
