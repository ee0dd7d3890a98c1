"""Viewers without a browser: websockets that take everything that the page sends, and draw nothing.

``python -m benchmarks.view.viewers URL COUNT`` prints one JSON line a second: bytes and messages of all viewers so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

CAMERA = {  # what a browser sends first: where its viewer stands; without it, it is no viewer yet
    "type": "ViewerCameraMessage",
    "wxyz": [0.5, -0.5, 0.5, -0.5],
    "position": [1.35, -0.75, 0.8],
    "fov": 0.9,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 800,
    "image_width": 1280,
    "look_at": [0.35, 0.0, 0.15],
    "up_direction": [0.0, 0.0, 1.0],
}


async def watch(url: str, counts: dict[str, float]) -> None:
    """One viewer: takes messages until the server ends."""
    import msgspec.msgpack
    import viser
    from websockets.asyncio.client import connect

    address = url.replace("http://", "ws://", 1)
    async with connect(address, subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as socket:  # type: ignore[list-item]
        await socket.send(msgspec.msgpack.encode(CAMERA))
        counts["viewers"] += 1
        async for message in socket:
            counts["bytes"] += len(message)
            counts["messages"] += 1


async def watch_all(url: str, count: int) -> None:
    """``count`` viewers, until the server ends."""
    counts: dict[str, float] = {"bytes": 0, "messages": 0, "viewers": 0}
    watching = [asyncio.create_task(watch(url, counts)) for _ in range(count)]
    try:
        while not any(task.done() for task in watching):
            await asyncio.sleep(1.0)
            print(json.dumps(counts | {"time": time.time()}), flush=True)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


def main(words: list[str]) -> Any:
    """Command line."""
    url, count = words
    asyncio.run(watch_all(url, int(count)))


if __name__ == "__main__":
    main(sys.argv[1:])
