"""Encodes and decodes images: as PNG (exact, the default) or as H.264 4:2:0 video (plays everywhere).

docs/data.md has the measurement behind the default.  Each episode's video is encoded separately, in one thread, with
closed GOPs and without B-frames: its bytes depend on its images only, and episodes are joined by copying packets.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import av
import numpy as np

from vla_agent.data.lerobot.claims.video_claims import check_video
from vla_agent.files.bounded_pictures import decode_picture
from vla_agent.files.input_limits import PICTURE_PIXELS

logging.getLogger("libav").setLevel(logging.ERROR)


@dataclass(frozen=True)
class VideoStorage:
    """How a video is encoded: codec, pixel format and options of FFmpeg."""

    codec: str
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)


GOP = 10  # frames (half a second at 20 Hz): a random frame costs at most ten decoded ones
_CLOSED_GOP = {"bf": "0", "g": str(GOP), "keyint_min": str(GOP), "sc_threshold": "0", "flags": "+cgop", "threads": "1"}
STORAGES: dict[str, VideoStorage | None] = {
    "images": None,
    # no x264 macroblock tree: with AVX-512 it gives different bytes in one of a hundred encodings of the same images
    "video": VideoStorage("libx264", "yuv420p", _CLOSED_GOP | {"mbtree": "0", "crf": "14", "preset": "veryfast"}),
}


def encode_png(image: np.ndarray) -> bytes:
    """One image (H, W, 3) uint8 as PNG bytes, without row filters.

    Rendered images have flat areas: without a row filter they are smaller than with the filters that Pillow chooses,
    four times faster to write and two times faster to read (docs/data.md).
    """
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row begins with the number of its filter, 0
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 3)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def decode_png(data: bytes) -> np.ndarray:
    """PNG (or JPEG) bytes as (H, W, 3) uint8.

    Raises:
        PictureError: another format, 16 bits a channel, too large, or damaged.
    """
    return decode_picture(data)


def encode_video(images: np.ndarray, fps: int, storage: VideoStorage) -> bytes:
    """Images (n, H, W, 3) uint8 as one MP4 in memory."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(storage.codec, rate=fps, options=storage.options)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = storage.pix_fmt
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


class VideoJoiner:
    """Joins the MP4s of several episodes to one file by copying packets.

    Args:
        path: the file to write.
        fps: frames per second of every part.
    """

    def __init__(self, path: str | PathLike[str], fps: int) -> None:
        self.frames = 0
        self.bytes = 0
        self._fps = fps
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: av.VideoStream | None = None
        self._form: tuple[object, ...] | None = None

    def continues(self, data: bytes) -> bool:
        """Whether an MP4 can follow the parts so far in one stream: same codec, size and codec parameters."""
        with av.open(io.BytesIO(data)) as part:
            return self._form in (None, _form(part.streams.video[0]))

    def append(self, data: bytes, frames: int) -> None:
        """Append an episode's MP4 of ``frames`` frames."""
        with av.open(io.BytesIO(data)) as part:
            source = part.streams.video[0]
            if self._stream is None:
                self._stream = self._container.add_stream_from_template(source)
                self._form = _form(source)
            for packet in part.demux(source):
                if packet.size == 0:
                    continue
                offset = round(self.frames / self._fps / packet.time_base)
                packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                packet.stream = self._stream
                self._container.mux(packet)
        self.frames += frames
        self.bytes += len(data)

    def close(self) -> None:
        """Finish the file."""
        self._container.close()


def _form(stream: av.VideoStream) -> tuple[object, ...]:
    """What all packets of one stream have in common."""
    return stream.codec.canonical_name, stream.width, stream.height, stream.pix_fmt, stream.codec_context.extradata


@contextmanager
def open_video(path: str | PathLike[str]) -> Iterator[av.container.InputContainer]:
    """An MP4 whose claims have been checked.  No other format is tried, and no frame over the limit is decoded.

    Raises:
        OSError, av.FFmpegError: it is missing or damaged, or its index is missing.
        DatasetError: no MP4, or it claims more than it can hold.
    """
    check_video(Path(path))
    options = {"max_pixels": str(PICTURE_PIXELS)}
    with av.open(str(path), format="mp4", options=options) as container:
        for stream in container.streams.video:
            if stream.width * stream.height > PICTURE_PIXELS:
                raise ValueError(f"{stream.width} x {stream.height}, at most {PICTURE_PIXELS:,} pixels")
            stream.codec_context.options = options
        yield container


def count_frames(path: str | PathLike[str], fps: float | None = None) -> int:
    """Number of frames in the file, from its packets; nothing is decoded.

    Args:
        fps: the rate that their times have to be of; None: any.

    Raises:
        OSError, IndexError, ValueError, DatasetError: as `open_video`; it has no video, or one of another rate.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size > 0]
        times = sorted(float(p.pts * stream.time_base) for p in packets if p.pts is not None and stream.time_base)
    for number, time in enumerate(times):
        if fps is not None and round(time * fps) != number:
            raise ValueError(f"frame {number} at {time:.3f} s, which is not its time at {fps:g} Hz")
    return len(packets)


def video_info(path: str | PathLike[str], fps: int) -> dict[str, object]:
    """The ``info`` entry of a video feature, as LeRobot writes it."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }


def decode_video(path: str | PathLike[str], start: int, stop: int, fps: float) -> Iterator[np.ndarray]:
    """Frames ``start`` to ``stop`` - 1 of a file, in order, as (H, W, 3) uint8.

    Raises:
        OSError, IndexError, ValueError, DatasetError: as `open_video`; no video, a frame without a time or with that
            of another number, or a video that is to be turned.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        if start:
            container.seek(round(start / fps / stream.time_base), stream=stream, backward=True)
        wanted = start
        for frame in container.decode(stream):
            if frame.pts is None:
                raise ValueError("a frame without a time")
            if frame.rotation:
                raise ValueError(f"a video that players turn by {frame.rotation} degrees: encode it upright")
            number = round(float(frame.pts * stream.time_base) * fps)
            if number >= stop:
                return
            if number >= start:
                if number != wanted:
                    raise ValueError(f"frame {number} follows frame {wanted - 1} at {fps:g} Hz: another rate")
                wanted += 1
                yield frame.to_ndarray(format="rgb24")
