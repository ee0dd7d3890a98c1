"""How a mapping turns a camera's images, pixel by pixel; and which turn it refuses."""

import numpy as np
import pytest
from pydantic import ValidationError

from vla_agent.data.convert.mapping import CameraSource

CAMERA = {"name": "front", "at": "images", "height": 4, "width": 6}


@pytest.mark.parametrize("shape", [(4, 6, 3), (2, 4, 6, 3)])
def test_each_flip_moves_the_pixels_where_it_says(shape):
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    turned = {flip: CameraSource(**CAMERA, flip=flip).upright(images) for flip in (False, True, "rows", "both")}
    for row in range(4):
        for column in range(6):
            here = images[..., row, column, :]
            assert np.array_equal(turned[False][..., row, column, :], here)
            assert np.array_equal(turned["rows"][..., 3 - row, column, :], here)
            assert np.array_equal(turned["both"][..., 3 - row, 5 - column, :], here)
    assert np.array_equal(turned[True], turned["rows"])


@pytest.mark.parametrize("flip", ["columns", "horizontal"])
def test_a_mirrored_camera_is_refused_for_what_it_would_do(flip):
    with pytest.raises(ValidationError, match="left would be right"):
        CameraSource(**CAMERA, flip=flip)
