"""Images: not blank, and where the environment offers `render`, of the right colours, upright, and of this moment.

`render` is a second picture of the first camera, made at once.  What differs only while something moves is old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vla_agent.environments.check.probe import Finding, Probe, Trace, same

FITS, BETTER = 0.8, 0.02  # correlation of two pictures of one view; by how much a changed one must fit better
Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, tuple[str, str, Change]] = {
    "the channels are in the order BGR": ("image.channels", "image[..., ::-1]", lambda i: i[..., ::-1]),
    "it is upside down": ("image.direction", "image[::-1]", lambda i: i[::-1]),
    "it is mirrored": ("image.direction", "image[:, ::-1]", lambda i: i[:, ::-1]),
    "it is turned by 180 degrees": ("image.direction", "image[::-1, ::-1]", lambda i: i[::-1, ::-1]),
}


def show_the_present(probe: Probe) -> Iterator[Finding]:
    """Not blank, not dark, not turned, not old."""
    seed = probe.settings.seed
    trace = probe.play(probe.chosen[0], seed, probe.actions(seed), render=True)
    for camera in probe.contract.cameras:
        images = [np.asarray(o["images"][camera.name]) for o in trace.observations]
        if max(int(i.max()) for i in images) <= 1:
            remedy = "multiply by 255 before the conversion to uint8; or does the renderer draw nothing?"
            yield Finding("image.dark", f"{camera.name} has values of 0 and 1 alone", remedy)
        elif max(float(i.std()) for i in images) < 1.0:
            remedy = "is the camera inside an object, or the renderer without a GL context (MUJOCO_GL=egl)?"
            yield Finding("image.blank", f"{camera.name} is one colour", remedy)
    yield from _one_step_old(probe, trace)
    if trace.renders and trace.renders[0].ndim == 3:
        yield from _against_render(probe, trace)


def _one_step_old(probe: Probe, trace: Trace) -> Iterator[Finding]:
    """The first step moves the robot and not the picture, the second one both."""
    if len(trace.observations) < 3:
        return
    zero, one, two = trace.observations[:3]
    moved = not np.array_equal(zero["state"], one["state"])
    if moved and same(zero["images"], one["images"]) and not same(one["images"], two["images"]):
        yield _old("the image of the first step is that of before it, though the state has changed")


def _old(text: str) -> Finding:
    remedy = "render in observe(), after the physics: images that step() returns are often of before its end"
    return Finding("image.age", text, remedy)


def _against_render(probe: Probe, trace: Trace) -> Iterator[Finding]:
    name = probe.contract.camera_names[0]
    images = [np.asarray(o["images"][name]) for o in trace.observations]
    renders = [_resized(render, images[0].shape) for render in trace.renders]
    plain = _fit(images[0], renders[0])
    fits = {text: _fit(change(images[0]), renders[0]) for text, (_, _, change) in CHANGES.items()}
    best = max(fits, key=lambda text: fits[text])
    if fits[best] > max(FITS, plain + BETTER):
        check, code, _ = CHANGES[best]
        yield Finding(check, f"against render(), {best}", f"return np.ascontiguousarray({code})")
        return
    if plain < FITS:
        text = f"render() shows another view than {name} (correlation {plain:.2f}): colours and age are not checked"
        yield Finding("image.render", text, "let render() show the first camera", error=False)
        return
    yield from _age(images, renders)


def _age(images: list[np.ndarray], renders: list[np.ndarray]) -> Iterator[Finding]:
    """Where both agree to the bit at rest, they must while it moves; else the picture before must not fit better."""
    errors = [_apart(image, render) for image, render in zip(images, renders, strict=True)]
    moving = [k for k in range(1, len(images)) if _apart(renders[k], renders[k - 1]) > 0]
    if not moving:
        return
    exact = errors[0] == 0
    late = [k for k in moving if (errors[k] > 0 if exact else _apart(images[k], renders[k - 1]) < errors[k])]
    if len(late) >= 0.8 * len(moving):
        yield _old(f"in {len(late)} of {len(moving)} steps that move, the image is older than the state")


def _fit(image: np.ndarray, render: np.ndarray) -> float:
    """Correlation of two pictures; 0 where one is blank."""
    a, b = image.astype(float).ravel(), render.astype(float).ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def _resized(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The picture at another size, by the nearest pixels."""
    rows = (np.arange(shape[0]) + 0.5) * image.shape[0] / shape[0]
    columns = (np.arange(shape[1]) + 0.5) * image.shape[1] / shape[1]
    return image[rows.astype(int)][:, columns.astype(int)]
