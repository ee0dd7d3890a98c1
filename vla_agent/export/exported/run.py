"""Runs the exported policy of this folder.  Needs numpy and onnxruntime alone.

``python run.py "put the red mug in the tray"`` computes one chunk of a blank observation: whether it works here.
"""

import sys
from pathlib import Path

import numpy as np

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.contract.contract import Contract
from vla_agent.export.exported.graphs import checked_reader, open_onnx
from vla_agent.export.exported.words import open_words
from vla_agent.policy.execution.seams import hold


class Policy:
    """``reset(instruction)``, then ``act(observation)`` -> chunk (T, A), of which ``execute`` rows are executed."""

    def __init__(self, folder, read=None, open_graph=open_onnx, threads=1):
        read, self.about = checked_reader(Path(folder), read)
        self.contract, self.execute = Contract.from_dict(self.about["contract"]), self.about["execute"]
        self.words = open_words(self.about, read, lambda name: open_graph(read, name, threads))
        self._graph, self._text, self._random = open_graph(read, "policy", threads), {}, np.random.default_rng(0)

    def reset(self, instruction, seed=0):
        """Begin an episode; the noise from which a chunk is made is drawn with ``seed``."""
        self._text = {}  # where this fails, the arm does not go on with the instruction before
        self._random = np.random.default_rng(seed)
        self._text = self.words.encode(instruction)

    def act(self, observation, noise=None):
        """{"images": {camera: (H, W, 3) uint8}, "state": (D,)} -> (T, A) float32; see ``contract``; noise (T, A)."""
        if not self._text:
            raise ValueError("call reset(instruction) first")
        self.contract.check_observation(observation)  # names, shapes, types, units
        return self.chunk(observation, np.asarray(observation["state"], np.float32), noise)

    def chunk(self, observation, start, noise=None):
        """The chunk of a checked observation, for the state ``start`` (D,) in which it begins."""
        images = {f"image.{name}": observation["images"][name] for name in self.contract.camera_names}
        shape = self.contract.chunk_length, self.contract.action_dim
        noise = self._random.standard_normal(shape, np.float32) if noise is None else noise
        out = self._graph({**images, **self._text, "state": start, "noise": np.asarray(noise, np.float32)})
        if self.words.refuses(out, np.asarray(observation["state"])):
            return np.tile(hold(self.contract, start, None), (shape[0], 1))
        return self.contract.check_chunk(out["chunk"])

    @property
    def refusal(self):
        """Why the last chunk holds the arm still; None where it does not."""
        return self.words.refusal


if __name__ == "__main__":
    sys.tracebacklimit = 0  # what is wrong, in one line
    policy = Policy(Path(__file__).parent)
    policy.reset(" ".join(sys.argv[1:]))
    print(policy.act(blank_observation(policy.contract)), policy.refusal or "", sep="\n")
