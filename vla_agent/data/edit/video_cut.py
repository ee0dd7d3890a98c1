"""Cuts an episode out of a video by copying packets: no image is encoded again where that is possible."""

from __future__ import annotations

import io
from collections.abc import Iterator
from os import PathLike

import av
import numpy as np

from vla_agent.data.lerobot.media import open_video


def cut_video(path: str | PathLike[str], start: int, stop: int, fps: float) -> bytes | None:
    """Frames ``start`` to ``stop`` - 1 of a file as an MP4 of their own, with the file's own packets.

    Returns:
        None where frame ``start`` is no key frame, or a packet has no time: then nothing can be copied.
    """
    buffer = io.BytesIO()
    with open_video(path) as source, av.open(buffer, "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        origin = round(start / fps / stream.time_base)
        source.seek(origin, stream=stream, backward=True)
        begun = False
        for packet in source.demux(stream):
            if packet.size == 0:
                continue
            if packet.pts is None or packet.dts is None:
                return None
            number = round(float(packet.pts * stream.time_base) * fps)
            if not begun and number == start:
                if not packet.is_keyframe:
                    return None
                begun = True
            if begun and start <= number < stop:
                packet.pts, packet.dts, packet.stream = packet.pts - origin, packet.dts - origin, copy
                target.mux(packet)
            elif begun and packet.is_keyframe:
                break
    return buffer.getvalue() if begun else None


def video_frames(data: bytes) -> Iterator[np.ndarray]:
    """The frames of an MP4 in memory that this project has made, each (H, W, 3) uint8."""
    with av.open(io.BytesIO(data), format="mp4") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")
