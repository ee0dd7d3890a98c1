"""Images from a camera, a stream, a video, an image file or a folder of images."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.files.bounded_pictures import PictureError, decode_picture
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.input_limits import CAMERA_PIXELS, PICTURE_BYTES

RETRY = 1.0  # seconds between two attempts to open a source
STILLS = (".png", ".jpg", ".jpeg", ".bmp")
STILL_FORMATS = ("PNG", "JPEG", "BMP")
BOUNDED = {"max_pixels": str(CAMERA_PIXELS)}  # of FFmpeg's decoders: a larger frame is an error, not an allocation


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
    is_file = Path(source).is_file()
    options = BOUNDED | ({"protocol_whitelist": "file"} if is_file else {})  # a file names no other source
    return av.open(source, timeout=5.0, options=options), is_file


def read_images(source: str, rate: float) -> Iterator[np.ndarray | str]:
    """Images (H, W, 3) uint8 RGB without end; instead of an image, the reason why there is none, every :data:`RETRY` s.

    A live source is reopened when it is lost.  A video file is played at its own rate in a loop.  A single image, and
    the images of a folder in the order of their names, come at ``rate`` a second in a loop.
    """
    while os.path.isdir(source) and not source.isdigit():
        yield from _folder(Path(source), rate)
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
            stream.codec_context.options = BOUNDED
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
        except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
            yield f"was lost: {error}"
        finally:
            container.close()
        if not is_file or not count:
            yield "ended"
            time.sleep(RETRY)


def _still(source: str) -> bool:
    return Path(source).suffix.lower() in STILLS


def _folder(folder: Path, rate: float) -> Iterator[np.ndarray | str]:
    """The folder's images once, or why one or all of them cannot be read."""
    try:
        files = sorted(file for file in folder.iterdir() if _still(file.name))
        trouble = "" if files else f"has no images ({', '.join(STILLS)})"
    except OSError as error:
        files, trouble = [], f"cannot be opened: {error}"
    if trouble:
        yield trouble
        time.sleep(RETRY)
    began = time.monotonic()
    for count, file in enumerate(files, 1):
        try:
            yield decode_picture(read_bytes(file, ObservationError, PICTURE_BYTES), formats=STILL_FORMATS)
        except (OSError, PictureError, ObservationError) as error:
            yield f"cannot read {file.name}: {error}"
        time.sleep(max(0.0, began + count / rate - time.monotonic()))
