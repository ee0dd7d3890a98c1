"""Images and joint states of ROS messages: encodings, and sizes that are bounded."""

from types import SimpleNamespace

import numpy as np
import pytest

from vla_agent.errors import ObservationError
from vla_agent.robot import sensor_messages
from vla_agent.robot.sensor_messages import compressed_pixels, image_pixels, joint_positions

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
ALPHA = np.full((4, 6, 1), 9, np.uint8)


def image(pixels, encoding, **changes):
    height, width = pixels.shape[:2]
    size = pixels[0].nbytes
    plain = {"height": height, "width": width, "step": size, "encoding": encoding, "data": pixels.tobytes()}
    return SimpleNamespace(**plain | changes)


@pytest.mark.parametrize(
    "encoding, pixels",
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
    ],
)
def test_encodings_with_colour(encoding, pixels):
    assert (image_pixels(image(pixels, encoding)) == RGB).all()
    padded = np.concatenate([pixels.reshape(4, -1), np.zeros((4, 5), np.uint8)], axis=1)
    assert (image_pixels(image(pixels, encoding, step=padded.shape[1], data=padded.tobytes())) == RGB).all()


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_repeated(encoding):
    assert (image_pixels(image(RGB[..., 0], encoding)) == RGB[..., :1]).all()


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1", "bayer_rggb8", "", "x" * 10**6])
def test_other_encodings_are_refused_in_few_words(encoding):
    with pytest.raises(ObservationError, match="unsupported encoding(.|\n)*range") as refused:
        image_pixels(image(RGB, encoding))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "changes", [{"step": 17}, {"height": 5}, {"width": 7}, {"height": 0, "data": b""}, {"data": b""}]
)
def test_rows_that_do_not_fit_the_size_are_refused(changes):
    with pytest.raises(ObservationError, match="incomplete"):
        image_pixels(image(RGB, "rgb8", **changes))


def test_images_of_16_bits_are_read_with_their_range_alone():
    for kind, big in (("<u2", 0), (">u2", 1)):
        values = np.array([[0, 300, 775], [1250, 2000, 65535]], kind)
        message = image(values, "16UC1", is_bigendian=big)
        assert image_pixels(message, (300, 1250))[..., 2].tolist() == [[0, 0, 128], [255, 255, 255]]
        with pytest.raises(ObservationError, match="range"):
            image_pixels(message)
        with pytest.raises(ObservationError, match="incomplete"):
            image_pixels(image(values, "16UC1", step=5, is_bigendian=big), (300, 1250))


def test_pixels_of_a_camera_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(sensor_messages, "CAMERA_PIXELS", 24)
    image_pixels(image(RGB, "rgb8"))
    monkeypatch.setattr(sensor_messages, "CAMERA_PIXELS", 23)
    with pytest.raises(ObservationError, match="at most 23 pixels"):
        image_pixels(image(RGB, "rgb8"))


def test_a_compressed_image_that_is_none_is_refused_in_few_words():
    with pytest.raises(ObservationError, match="JPEG") as refused:
        compressed_pixels(SimpleNamespace(format="x" * 10**6, data=b"none"))
    assert len(str(refused.value)) < 1000


def test_joints_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(sensor_messages, "JOINTS", 3)
    state = SimpleNamespace(name=["a", "b", "q"], position=[1.0, 2.0, 3.0], velocity=[0.0] * 4)
    assert joint_positions(state, ["q", "a"]).tolist() == [3.0, 1.0]
    with pytest.raises(ObservationError, match="at most 3 joints"):
        joint_positions(state, ["q"], "velocity")
    state.name.append("r")
    with pytest.raises(ObservationError, match="4 names"):
        joint_positions(state, ["q"])
