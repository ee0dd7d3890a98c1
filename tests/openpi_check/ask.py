"""Asks a policy server with the real openpi-client and prints what came back as JSON.  Runs in its own environment.

usage: python ask.py URL TOKEN|- [COUNT]
"""

from __future__ import annotations

import json
import sys

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy


def main(url: str, token: str, count: int) -> None:
    try:
        policy = WebsocketClientPolicy(url, api_key=None if token == "-" else token)
    except Exception as error:
        print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
        return
    metadata = policy.get_server_metadata()
    rng = np.random.default_rng(0)
    cameras = {c["name"]: (c["height"], c["width"], 3) for c in metadata["contract"]["cameras"]}
    dimensions = sum(field["size"] for field in metadata["contract"]["state"])
    chunks = []
    for _ in range(count):
        observation = {f"observation/{n}": rng.integers(0, 255, shape, dtype=np.uint8) for n, shape in cameras.items()}
        observation["observation/state"] = rng.normal(size=dimensions)
        observation["prompt"] = "put the red mug in the tray"
        reply = policy.infer(observation)
        chunks.append({"shape": reply["actions"].shape, "dtype": str(reply["actions"].dtype)})
        assert np.isfinite(reply["actions"]).all() and reply["server_timing"]["infer_ms"] > 0
    wrong = {}
    try:
        policy.infer({"observation/state": np.zeros(3), "prompt": "x"})
    except RuntimeError as error:
        wrong = {"wrong": str(error)}
    again = policy.infer(observation)["actions"].shape
    print(json.dumps({"metadata": metadata, "chunks": chunks, "again": again, **wrong}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
