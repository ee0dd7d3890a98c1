"""Pictures from a camera, a stream, a video or an image file, cropped and resized to what a policy wants."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

RETRY = 1.0  # seconds between two attempts to open a source


def fit(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3): the largest centred part of that shape, averaged down to the size."""
    height, width = size
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    part = round(height * scale), round(width * scale)
    top, left = (pixels.shape[0] - part[0]) // 2, (pixels.shape[1] - part[1]) // 2
    cut = Image.fromarray(np.ascontiguousarray(pixels[top : top + part[0], left : left + part[1]]))
    return np.asarray(cut.resize((width, height), Image.Resampling.BOX if scale > 1 else Image.Resampling.BILINEAR))


def open_source(source: str) -> tuple[av.container.InputContainer, bool]:
    """A container and whether it is a file: ``0`` is /dev/video0; else a device, a URL or a path.

    Raises:
        av.error.FFmpegError: it cannot be opened.
        OSError: likewise.
    """
    if source.isdigit():
        source = f"/dev/video{source}"
    if source.startswith("/dev/"):
        return av.open(source, format="v4l2"), False
    return av.open(source, timeout=5.0), Path(source).is_file()


def pictures(source: str, rate: float) -> Iterator[np.ndarray | str]:
    """Pictures (H, W, 3) uint8 RGB for ever, or, where there is none, why, in words, about once in :data:`RETRY` s.

    A live source is opened again when it is lost.  A file is played in its own time and from the start again when it
    ends; a single image comes ``rate`` times a second.
    """
    while True:
        try:
            container, is_file = open_source(source)
        except (av.error.FFmpegError, OSError) as error:
            yield f"cannot be opened: {error}"
            time.sleep(RETRY)
            continue
        count, began = 0, time.monotonic()
        try:
            stream = container.streams.video[0]
            every = (
                1.0 / float(stream.average_rate or rate) if stream.frames != 1 and not _still(source) else 1.0 / rate
            )
            for frame in container.decode(stream):
                if is_file:
                    time.sleep(max(0.0, began + count * every - time.monotonic()))
                yield frame.to_ndarray(format="rgb24")
                count += 1
            if is_file:
                time.sleep(max(0.0, began + count * every - time.monotonic()))
        except (av.error.FFmpegError, OSError, IndexError) as error:
            yield f"was lost: {error}"
        finally:
            container.close()
        if not is_file or not count:
            yield "ended"
            time.sleep(RETRY)


def _still(source: str) -> bool:
    return Path(source).suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp")
