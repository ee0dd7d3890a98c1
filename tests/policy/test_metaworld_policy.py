"""The shipped policy for Meta-World loads, and acts on what Meta-World shows."""

import numpy as np

from vla_agent.policy.loading import load_policy


def test_it_acts_within_the_limits_and_listens_to_the_sentence():
    policy = load_policy("policies/metaworld-mt10")
    (camera,) = policy.contract.cameras
    image = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    chunks = []
    for text in ("Push and open a window", "Reach a goal position"):
        policy.reset(text)
        state = np.array([0.0, 0.6, 0.2, 1.0], np.float32)
        chunks.append(policy.act({"images": {camera.name: image}, "state": state}))
    assert chunks[0].shape == (32, 4) and np.isfinite(chunks).all() and np.abs(chunks).max() <= 1.5
    assert np.abs(chunks[0] - chunks[1]).max() > 0.05
