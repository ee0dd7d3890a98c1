"""Joint states and images as drivers publish them, read by the nodes' own classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.robots.cases.case import Case, refused, unless
from benchmarks.robots.feed_cells import ARM, CONTRACT, GRIPPER, ROBOT, Cell, accepted, image_message, limits
from vla_agent.errors import ObservationError
from vla_agent.robot.camera_spec import CameraSpec
from vla_agent.robot.cameras.image_messages import compressed_pixels, image_pixels
from vla_agent.robot.cameras.topic_view import TopicView
from vla_agent.robot.joint_states import JointReader
from vla_agent.ros.runtime.observations import ObservationBuffer

STATES, ORDER, IMAGES, SIZES, DEPTH = "joint states by time", "joint states by name", "encodings", "sizes", "depth"
ANGLES = np.linspace(-0.3, 0.3, len(ARM))
RATES = ((500.0, 0.04), (250.0, 0.04), (1000.0, 0.02), (1000.0, 0.15), (125.0, 0.1), (20.0, 0.03), (40.0, 0.15))
# The colour of a pixel, and its bytes: of a whole image of one colour.
RED = (255, 0, 0)
PIXELS: dict[str, tuple[tuple[int, int, int], bytes]] = {
    "rgb8": (RED, bytes(RED)),
    "bgr8": (RED, bytes((0, 0, 255))),
    "rgba8": (RED, bytes((*RED, 7))),
    "bgra8": (RED, bytes((0, 0, 255, 7))),
    "8UC3": (RED, bytes((0, 0, 255))),
    "8UC4": (RED, bytes((0, 0, 255, 7))),
    "mono8": ((90, 90, 90), bytes((90,))),
    "8UC1": ((90, 90, 90), bytes((90,))),
    "yuv422": (RED, bytes((90, 81, 240, 81))),
    "uyvy": (RED, bytes((90, 81, 240, 81))),
    "yuv422_yuy2": (RED, bytes((81, 90, 81, 240))),
    "yuyv": (RED, bytes((81, 90, 81, 240))),
}


# -- joint states --------------------------------------------------------------------------------------------------


def _fed(hz: float, delay: float, split: bool, _folder: Path) -> str:
    frames = [np.full((96, 96, 3), shade, np.uint8) for shade in (0, 100, 200)]
    good, steps, why = accepted(Cell(hz, delay, split, (96, 96), "rgb8"), frames, seed=int(hz))
    return unless(good == steps, f"{good} of {steps}: {why}")


def _state(names: Sequence[str], positions: Iterable[float], stamp: float = 10.0, **more: Any) -> Any:
    nanoseconds = round(stamp * 1e9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9))
    fields = {"velocity": [], "effort": []} | more
    return SimpleNamespace(header=header, name=list(names), position=list(positions), **fields)


def _joined(messages: Sequence[Any], now: float = 10.0) -> np.ndarray:
    """State of the observation that the policy gets after these messages and an image of each camera: (D,)."""
    buffer = ObservationBuffer(ROBOT, CONTRACT, lambda _: (np.zeros(3), np.array([1.0, 0, 0, 0])), limits())
    reader = JointReader([*ARM, GRIPPER])
    for name in CONTRACT.camera_names:
        buffer.add_image(name, np.zeros((96, 96, 3), np.uint8), now)
    for message in messages:
        if (part := reader.read(message)) is not None:
            buffer.add_part(part)
    return np.asarray(buffer.observe(now).data["state"])


def _right(messages: Sequence[Any]) -> str:
    """Whether the joints come out at `ANGLES` and the gripper half closed."""
    found = _joined(messages)[-len(ARM) - 1 :]
    return unless(np.allclose(found, [0.5, *ANGLES], atol=1e-6), found)


def _as(make: Callable[[], Sequence[Any]], _folder: Path) -> str:
    return _right(make())


def _refused_state(make: Callable[[], Sequence[Any]], words: Sequence[str], _folder: Path) -> str:
    return refused(lambda: _joined(make()), *words)


WHOLE, HALF = (*ARM, GRIPPER), (*ANGLES, 0.4)
TURNED = [*WHOLE][::-1]
TAKEN: dict[str, Callable[[], Sequence[Any]]] = {
    "in the reverse order": lambda: [_state(TURNED, HALF[::-1])],
    "the gripper first, as the simulator has it": lambda: [_state([GRIPPER, *ARM], [0.4, *ANGLES])],
    "further joints, one of them NaN": lambda: [_state([*WHOLE, "wheel", "x"], [*HALF, np.nan, 1.0])],
    "without velocity and effort": lambda: [_state(WHOLE, HALF)],
    "velocity and effort are NaN": lambda: [_state(WHOLE, HALF, velocity=[np.nan] * 8, effort=[np.nan] * 8)],
    "with velocity, without effort": lambda: [_state(WHOLE, HALF, velocity=[0.0] * 8)],
    "fewer velocities than joints": lambda: [_state(WHOLE, HALF, velocity=[0.0] * 7)],
    "arm and gripper apart": lambda: [_state(ARM, ANGLES), _state([GRIPPER], [0.4], 9.9)],
    "three publishers": lambda: [
        _state(ARM[4:], ANGLES[4:]),
        _state([GRIPPER], [0.4], 9.95),
        _state(ARM[:4], ANGLES[:4], 10.01),
    ],
    "a message without joints of ours between": lambda: [_state(["wheel"], [1.0]), _state(WHOLE, HALF)],
    "a message without names between": lambda: [_state([], []), _state(WHOLE, HALF)],
    "a stamp that is repeated": lambda: [_state(WHOLE, HALF), _state(WHOLE, [9.0] * 8)],
    "a merged topic beside the arm's own": lambda: [_state(ARM, ANGLES, 10.001), _state(WHOLE, HALF, 9.99)],
    "a clock 5 ms ahead of ours": lambda: [_state(WHOLE, HALF, 10.005)],
}
REFUSED_STATES: dict[str, tuple[Callable[[], Sequence[Any]], tuple[str, ...]]] = {
    "a joint that never comes": (lambda: [_state(WHOLE[1:], HALF[1:])], ("joint1", "no message")),
    "NaN of the arm": (lambda: [_state(WHOLE, [np.nan, *HALF[1:]])], ("joint_states", "NaN")),
    "a joint twice": (lambda: [_state([*WHOLE, ARM[0]], [*HALF, 0.0])], ("twice", "joint1")),
    "more positions than names": (lambda: [_state(WHOLE, [*HALF, 0.0])], ("without names",)),
    "no stamp": (lambda: [_state(WHOLE, HALF, 0.0)], ("stamp",)),
    "a second old": (lambda: [_state(WHOLE, HALF, 9.0)], ("joint_states", "old")),
    "a gripper silent for half a second": (
        lambda: [_state([GRIPPER], [0.4], 9.5), _state(ARM, ANGLES)],
        (GRIPPER, "old"),
    ),
}


# -- images --------------------------------------------------------------------------------------------------------


def one_colour(encoding: str, size: tuple[int, int], pad: int = 12) -> Any:
    """An image of one colour with padded rows."""
    width, height = size
    unit = PIXELS[encoding][1]
    row = unit * (width // (2 if len(unit) == 4 and encoding[0] in "yu" else 1)) + bytes(pad)
    fields = {"step": len(row), "encoding": encoding, "is_bigendian": 0, "data": row * height}
    return SimpleNamespace(height=height, width=width, **fields)


def view(read: Callable[[Any], np.ndarray] = image_pixels, **keys: Any) -> TopicView:
    """What the policy node reads a camera with."""
    return TopicView(CameraSpec(name="front", topic="c", frame="f", **keys), (96, 96), read)


def _colour(encoding: str, _folder: Path) -> str:
    pixels = view()(one_colour(encoding, (640, 480))).astype(int)
    right = pixels.shape == (96, 96, 3) and np.abs(pixels - PIXELS[encoding][0]).max() <= 3
    return unless(right, f"{pixels.shape}, {pixels[0, 0]}")


def _planes(encoding: str, _folder: Path) -> str:
    """Luma, then pairs of U and V, or of V and U."""
    pair = bytes((90, 240)) if encoding in ("nv12", "nv24") else bytes((240, 90))
    colours = pair * 640 * 480 if encoding == "nv24" else pair * (320 * 240)
    fields = {"step": 640, "encoding": encoding, "is_bigendian": 0, "data": bytes((81,)) * 640 * 480 + colours}
    pixels = view()(SimpleNamespace(height=480, width=640, **fields)).astype(int)
    return unless(np.abs(pixels - RED).max() <= 3, pixels[0, 0])


def _mosaic(encoding: str, _folder: Path) -> str:
    """A red surface: all other pixels of the mosaic are dark."""
    row, column = divmod(encoding.removeprefix("bayer_").removesuffix("8").find("r"), 2)
    mosaic = np.zeros((480, 640), np.uint8)
    mosaic[row::2, column::2] = 255
    fields = {"step": 640, "encoding": encoding, "is_bigendian": 0, "data": mosaic.tobytes()}
    pixels = view()(SimpleNamespace(height=480, width=640, **fields)).astype(int)
    return unless(np.abs(pixels - RED).max() <= 1, pixels[0, 0])


def _compressed(kind: str, said: str, mode: str, _folder: Path) -> str:
    import io

    from PIL import Image

    colours: dict[str, Any] = {"L": 90, "RGB": (0, 0, 255), "RGBA": (0, 0, 255, 255)}
    file, colour = io.BytesIO(), colours[mode]
    Image.new(mode, (640, 480), colour).save(file, kind)
    pixels = view(compressed_pixels)(SimpleNamespace(format=said, data=file.getvalue())).astype(int)
    wanted = (90, 90, 90) if mode == "L" else (0, 0, 255)
    return unless(pixels.shape == (96, 96, 3) and np.abs(pixels - wanted).max() <= 3, pixels[0, 0])


def _sized(size: tuple[int, int], keys: dict[str, Any], _folder: Path) -> str:
    """The centre, or the crop, is what is seen: it is red, all else is blue."""
    width, height = size
    side = min(size)
    left, top, wide, high = keys.get("crop", ((width - side) // 2, (height - side) // 2, side, side))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 2] = 255
    picture[top : top + high, left : left + wide] = RED
    fields = {"step": 3 * width, "encoding": "rgb8", "is_bigendian": 0, "data": picture.tobytes()}
    pixels = view(**keys)(SimpleNamespace(height=height, width=width, **fields)).astype(int)
    return unless(pixels.shape == (96, 96, 3) and np.abs(pixels - RED).max() <= 1, f"{pixels.shape}, {pixels[0, 0]}")


def _refused_image(encoding: str, words: Sequence[str], _folder: Path) -> str:
    wide = {"32FC1": 4, "64FC1": 8, "rgb16": 6, "bgr16": 6}.get(encoding, 2)
    fields = {"step": wide * 64, "encoding": encoding, "is_bigendian": 0, "data": bytes(64 * wide * 48)}
    return refused(lambda: view()(SimpleNamespace(height=48, width=64, **fields)), *words)


def _refused_depth(said: str, _folder: Path) -> str:
    message = SimpleNamespace(format=said, data=bytes(100))
    return refused(lambda: view(compressed_pixels)(message), "no colours", "depth", "colour image")


def _changed(_folder: Path) -> str:
    read = view()
    read(one_colour("rgb8", (640, 480)))
    return refused(lambda: read(one_colour("rgb8", (1280, 720))), "have changed", "640 x 480", "1280 x 720")


def _short(_folder: Path) -> str:
    message = image_message("bgr8", (64, 48), 0)
    message.data = message.data[:-3]
    return refused(lambda: view()(message), "incomplete")


def _not_seen_is_not_decisive(_folder: Path) -> str:
    """A depth image that strays onto the topic does not decide on size and encoding."""
    read = view()
    try:
        read(SimpleNamespace(height=48, width=64, step=128, encoding="16UC1", is_bigendian=0, data=bytes(128 * 48)))
    except ObservationError:
        return unless(read(one_colour("rgb8", (640, 480))).shape == (96, 96, 3), "another size")
    return "depth is taken"


def _state_cases() -> Iterator[Case]:
    for hz, delay in RATES:
        for split in (False, True):
            name = f"{hz:g} Hz, images {1000 * delay:g} ms late, {'arm and gripper apart' if split else 'merged'}"
            yield Case(STATES, name, partial(_fed, hz, delay, split))
    for name, make in TAKEN.items():
        yield Case(ORDER, name, partial(_as, make))
    for name, (make, words) in REFUSED_STATES.items():
        yield Case(ORDER, f"refused: {name}", partial(_refused_state, make, words))


def _image_cases() -> Iterator[Case]:
    for encoding in PIXELS:
        yield Case(IMAGES, encoding, partial(_colour, encoding))
    for encoding in ("nv12", "nv21", "nv24"):
        yield Case(IMAGES, encoding, partial(_planes, encoding))
    for encoding in ("bayer_rggb8", "bayer_grbg8", "bayer_gbrg8", "bayer_bggr8"):
        yield Case(IMAGES, encoding, partial(_mosaic, encoding))
    for kind, said, mode in (
        ("JPEG", "jpeg", "RGB"),
        ("JPEG", "bgr8; jpeg compressed bgr8", "RGB"),
        ("JPEG", "mono8; jpeg compressed ", "L"),
        ("PNG", "rgba8; png compressed bgra8", "RGBA"),
        ("PNG", "png", "L"),
        ("JPEG", "", "RGB"),
    ):
        yield Case(IMAGES, f"compressed: '{said}', {mode}", partial(_compressed, kind, said, mode))
    for encoding in ("rgb16", "bgr16"):
        yield Case(IMAGES, f"refused: {encoding}", partial(_refused_image, encoding, ("unsupported", encoding, "rgb8")))


def _size_and_depth_cases() -> Iterator[Case]:
    for size in ((640, 480), (1280, 720), (1920, 1080), (424, 240), (480, 640), (97, 97), (200, 96), (96, 96)):
        yield Case(SIZES, f"{size[0]} x {size[1]}", partial(_sized, size, {}))
    yield Case(SIZES, "a crop of the robot file", partial(_sized, (640, 480), {"crop": (10, 20, 200, 200)}))
    yield Case(SIZES, "refused: another size than before", _changed)
    yield Case(SIZES, "refused: bytes are missing", _short)
    for encoding in ("16UC1", "32FC1", "mono16", "64FC1"):
        yield Case(DEPTH, f"refused: {encoding}", partial(_refused_image, encoding, ("no colours", encoding, "depth")))
    for said in ("16UC1; compressedDepth", "32FC1; compressedDepth png", "16UC1; png compressed "):
        yield Case(DEPTH, f"refused: compressed '{said}'", partial(_refused_depth, said))
    yield Case(DEPTH, "a depth image decides on nothing", _not_seen_is_not_decisive)


CASES = (*_state_cases(), *_image_cases(), *_size_and_depth_cases())
