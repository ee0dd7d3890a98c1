"""Real-time chunking of the shipped policy: frozen rows, then a chunk for the state after them."""

import numpy as np

from vla_agent.policy.execution.realtime import commit
from vla_agent.policy.loading import load_policy


def test_the_shipped_policy_continues_committed_actions():
    policy = load_policy("policies/tabletop-nano")
    contract = policy.contract
    images = {c.name: np.full((c.height, c.width, 3), 120, np.uint8) for c in contract.cameras}
    observation = {"images": images, "state": policy.state_normaliser.shift.numpy()}
    policy.doubt_with(None)  # the images are empty: it would hold still
    policy.reset("put the red block in the tray", seed=1)
    present = policy.act(observation)
    plain = policy.act(observation)
    continued = {}
    for name, committed in (("none", None), ("present", commit(present, contract.chunk_length, 4))):
        policy.reset("put the red block in the tray", seed=2)
        continued[name] = policy.act(observation, committed)
    assert plain.shape == continued["present"].shape == (contract.chunk_length, contract.action_dim)
    scale = policy.action_normaliser.scale.numpy()
    off = {name: np.abs((chunk - present)[:4] / scale).mean() for name, chunk in continued.items()}
    assert off["present"] == 0 < off["none"]  # the frozen rows are kept
    assert np.abs((continued["present"] - plain)[4:] / scale).max() > 0  # the rows after them start from another state
