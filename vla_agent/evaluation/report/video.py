"""Small H.264 videos and film strips, encoded with PyAV and Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from os import PathLike

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

BAR = (17, 24, 39)


def write_video(
    path: str | PathLike[str] | io.BytesIO, frames: Sequence[np.ndarray], fps: float, crf: int = 26
) -> None:
    """Write frames (H, W, 3) uint8 with even H and W as H.264 in MP4; in a file the index comes first.

    ``crf`` is x264's quality, lower is better.  One encoder thread: the bits do not depend on the cores.
    """
    in_memory = isinstance(path, io.BytesIO)
    options = {} if in_memory else {"movflags": "+faststart"}
    with av.open(path if in_memory else str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium", "tune": "animation"}
        stream.thread_count = 1
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def video_bytes(frames: Sequence[np.ndarray], fps: float, crf: int = 30) -> bytes:
    """The MP4 file as bytes, to be embedded in a page."""
    buffer = io.BytesIO()
    write_video(buffer, frames, fps, crf)
    return buffer.getvalue()


def image_bytes(image: np.ndarray, quality: int = 80) -> bytes:
    """An image (H, W, 3) uint8 as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def film_strip(frames: Sequence[np.ndarray], rows: int = 2, columns: int = 3) -> np.ndarray:
    """One image of frames (H, W, 3) evenly spaced in time, from first to last, in reading order."""
    picked = np.linspace(0, len(frames) - 1, rows * columns).round().astype(int)
    framed = [np.pad(frames[i][:-2, :-2], ((0, 2), (0, 2), (0, 0)), constant_values=255) for i in picked]
    lines = [np.concatenate(framed[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
    return np.concatenate(lines, axis=0)


def inset(front: np.ndarray, wrist: np.ndarray, scale: float = 0.3) -> np.ndarray:
    """The front image with the wrist image in its upper right corner, in a thin white frame."""
    height, width = front.shape[:2]
    size = (round(width * scale), round(height * scale))
    small = np.asarray(Image.fromarray(wrist).resize(size, Image.Resampling.LANCZOS))
    framed = np.pad(small, ((2, 2), (2, 2), (0, 0)), constant_values=255)
    combined = front.copy()
    combined[6 : 6 + framed.shape[0], width - 6 - framed.shape[1] : width - 6] = framed
    return combined


def caption(image: np.ndarray, text: str, mark: str = "") -> np.ndarray:
    """The image above a dark bar with the text (wrapped) and, at its right end, ``mark``."""
    height, width = image.shape[:2]
    size = max(11, width // 24)
    font = ImageFont.load_default(size=size)
    room = width - 16 - (font.getlength("00.0 s") + 12 if mark else 0)  # the same in every frame of a video
    lines = _wrap(text, font, room)
    pitch = size + 5
    bar = pitch * len(lines) + 9
    bar += (height + bar) % 2  # H.264 wants even sizes
    canvas = Image.new("RGB", (width, height + bar), BAR)
    canvas.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        draw.text((8, height + 4 + i * pitch), line, (243, 244, 246), font)
    if mark:
        draw.text((width - 8 - font.getlength(mark), height + 4), mark, (156, 163, 175), font)
    return np.asarray(canvas)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
