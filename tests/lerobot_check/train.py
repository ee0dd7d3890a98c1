"""``lerobot-train`` beside a CPU build of torch.  Runs in lerobot's own environment, from the repository's root.

usage: PYTHONPATH=. python tests/lerobot_check/train.py --policy.type=act --dataset.root=DATASET ...
"""

from __future__ import annotations

from vla_agent.peers.torchvision_names import declare_operators

if __name__ == "__main__":
    declare_operators()
    from lerobot.scripts.lerobot_train import main

    main()
