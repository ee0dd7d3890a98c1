"""Statistics in LeRobot's form: min, max, mean, std, count and five quantiles, per component or colour channel.

LeRobot averages the episodes' quantiles.  Here the whole dataset's quantiles are exact: from all vectors, and from
histograms of the images' byte values.
"""

from __future__ import annotations

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
IMAGE_STRIDE = 5  # every fifth frame enters the image statistics
Stats = dict[str, np.ndarray]


def vector_stats(values: np.ndarray) -> Stats:
    """Statistics of (n, d) or (n,) values; each has shape (d,) or (1,)."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return stats | {"count": np.array([len(values)])} | dict(zip(QUANTILES, quantiles, strict=True))


def image_histogram(images: np.ndarray) -> np.ndarray:
    """Counts of the byte values in every fifth of the images (n, H, W, 3) uint8: (3, 256) int64."""
    sample = images[::IMAGE_STRIDE]
    return np.stack([np.bincount(sample[..., c].ravel(), minlength=256) for c in range(3)])


def image_stats(histogram: np.ndarray, frames: int) -> Stats:
    """Statistics in [0, 1], shape (3, 1, 1), from a histogram (3, 256) of ``frames`` images."""
    levels = np.arange(256) / 255.0
    total = histogram.sum(axis=1)
    mean = histogram @ levels / total
    std = np.sqrt(np.maximum(histogram @ levels**2 / total - mean**2, 0.0))
    cumulative = np.cumsum(histogram, axis=1) / total[:, None]
    stats = {
        "min": np.array([levels[np.flatnonzero(h)[0]] for h in histogram]),
        "max": np.array([levels[np.flatnonzero(h)[-1]] for h in histogram]),
        "mean": mean,
        "std": std,
    }
    stats |= {name: levels[(cumulative >= q).argmax(axis=1)] for name, q in QUANTILES.items()}
    return {name: value.reshape(3, 1, 1) for name, value in stats.items()} | {"count": np.array([frames])}
