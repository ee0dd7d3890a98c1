"""Patterns for the table, drawn by formula: the `background` axis lays one on at the contrast of its severity.

Each is a tile that repeats without a seam.  A texel multiplies the colour of the table: a pattern of contrast c lies
between 1 - c and 1 of it.
"""

from __future__ import annotations

import mujoco
import numpy as np

PLAIN = "plain"  # no pattern
SIZE = 64  # texels along each side of a tile
CONTRASTS = (0.15, 0.30, 0.50)  # of severity 1, 2 and 3
_X, _Y = np.meshgrid(np.arange(SIZE) / SIZE, np.arange(SIZE) / SIZE)


def _wave(x_waves: int, y_waves: int, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * (x_waves * _X + y_waves * _Y + phase))


def _speckle(grain: int) -> np.ndarray:
    """Blocks of ``grain`` texels, each of its own brightness."""
    noise = np.random.default_rng(grain).uniform(0, 1, (SIZE // grain, SIZE // grain))
    return np.kron(noise, np.ones((grain, grain)))


# Brightness of every texel, 0 to 1.
PATTERNS: dict[str, np.ndarray] = {
    "wood": 0.5 + 0.5 * np.sin(2 * np.pi * (5 * _Y + 0.35 * _wave(1, 0) + 0.15 * _wave(2, 1))),
    "marble": np.abs(np.sin(np.pi * (_X + _Y) * 2 + 1.5 * _wave(1, 2, 0.2) + 0.8 * _wave(3, 1, 0.6))),
    "tiles": 1.0 - ((np.minimum(_X, _Y) < 0.06) * 1.0),
    "checks": ((_X < 0.5) ^ (_Y < 0.5)) * 1.0,
    "stripes": (_X < 0.5) * 1.0,
    "granite": 0.6 * _speckle(2) + 0.4 * _speckle(8),
}


def material(pattern: str, severity: int) -> str:
    """The model's name for a pattern at the contrast of a severity, 1 to 3."""
    return f"{pattern}.{severity}"


def add_textures(spec: mujoco.MjSpec) -> None:
    """Give the model every pattern at every contrast, as materials that nothing wears yet."""
    for pattern, brightness in PATTERNS.items():
        for severity, contrast in enumerate(CONTRASTS, 1):
            name = material(pattern, severity)
            texels = np.rint(255 * (1 - contrast * (1 - brightness))).astype(np.uint8)
            texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=SIZE, height=SIZE)
            texture.nchannel = 3
            texture.data = np.repeat(texels[..., None], 3, axis=-1).tobytes()
            worn = spec.add_material(name=name, texuniform=True)
            worn.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
