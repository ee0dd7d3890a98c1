"""Features that a training keeps belong to the datasets that they were computed from."""

from types import SimpleNamespace

import numpy as np
import torch

from vla_agent.training.stages.head_stage import compute_features


class Backbone:
    """Its feature is the mean of the image."""

    def __init__(self):
        self.computed = 0

    def eval(self):
        pass

    def encode_text(self, instructions):
        return SimpleNamespace(pick=lambda task: task)

    def features(self, images, _):
        self.computed += len(images)
        return {"mean": images.float().mean((1, 2, 3, 4))[:, None]}


def demonstrations(grey, name):
    images = np.full((6, 1, 4, 4, 3), grey, np.uint8)
    task = np.zeros(6, np.int64)
    return SimpleNamespace(hashes=[name], instructions=["go"], task=task, images_of=lambda part: images[part])


def test_they_are_kept_for_the_same_data_and_made_again_for_other_data(tmp_path):
    backbone, frames = Backbone(), np.arange(6)
    for grey, name, computed in ((10, "a", 6), (10, "a", 6), (20, "b", 12), (10, "a", 18)):
        kept = compute_features(backbone, demonstrations(grey, name), frames, tmp_path, batch=4)
        assert (torch.from_numpy(kept.parts["mean"].copy()) == grey).all() and backbone.computed == computed
