"""``make film``: the moving picture of the README, made from the shipped policy.

Each clip is one closed-loop episode in the simulator.  The front and the wrist image are the policy's own cameras at a
higher resolution; drawn on them are the two pointing maps of the policy (where to grasp, where to go) at the moment of
its last observation.  The last card quotes the gate's report in ``policies/tabletop-nano/evaluation/gate``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.record import ROOT

POLICY = ROOT / "policies" / "tabletop-nano"
FILM = ROOT / "docs" / "img" / "film.webp"
EPISODES = (("put_in_tray", 3, False), ("put_in_tray", 3, True), ("stack", 5, False))  # family, seed, other target
FRONT, WRIST, BAR, EVERY = 384, 176, 56, 2  # px, px, px, control steps a frame
TARGET, GOAL = np.array([255, 150, 20]), np.array([40, 215, 255])  # colours of the two roles
INK, PAPER, GREY, GREEN = (243, 244, 246), (17, 24, 39), (156, 163, 175), (74, 222, 128)
STEP_MS = 50


def pointing_maps(policy: Any, observation: dict[str, Any], text: Any) -> np.ndarray:
    """Role maps (V, R, h, w), each relative to its largest value; ``text`` is the encoded instruction."""
    import torch

    from vla_agent.models.backbones.pointing.pointing_backbone import stack_images

    with torch.inference_mode():
        images = stack_images(observation["images"], policy.contract.camera_names)
        maps = policy.backbone(images, text).maps[0].exp().numpy()  # (V, R, cells)
    side = int(round(maps.shape[-1] ** 0.5))
    maps = maps.reshape(*maps.shape[:2], side, side)
    return maps / maps.max(axis=(2, 3), keepdims=True)


def overlay(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) with the maps (R, h, w) of its view blended in."""
    blended = image.astype(np.float64)
    for heat, colour in zip(maps, (TARGET, GOAL), strict=True):
        small = Image.fromarray((255 * heat).astype(np.uint8))
        large = np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BICUBIC), dtype=np.float64) / 255
        weight = 0.85 * np.clip(large, 0, 1)[..., None] ** 0.8
        blended = (1 - weight) * blended + weight * colour
    canvas = Image.fromarray(blended.clip(0, 255).astype(np.uint8))
    draw, radius = ImageDraw.Draw(canvas), image.shape[0] // 28
    for heat, colour in zip(maps, (TARGET, GOAL), strict=True):  # a ring around the most probable cell
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        v, u = (row + 0.5) * image.shape[0] / heat.shape[0], (column + 0.5) * image.shape[1] / heat.shape[1]
        for width, ink in ((4, PAPER), (2, tuple(int(c) for c in colour))):
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=ink, width=width)
    return np.asarray(canvas)


def frame(front: np.ndarray, wrist: np.ndarray, instruction: str, seconds: float, result: str) -> Image.Image:
    """One frame: front image, wrist image with the legend below it, and the bar with instruction and result."""
    canvas = Image.new("RGB", (FRONT + WRIST, FRONT + BAR), PAPER)
    canvas.paste(Image.fromarray(front), (0, 0))
    canvas.paste(Image.fromarray(wrist), (FRONT, 0))
    draw = ImageDraw.Draw(canvas)
    small, large = ImageFont.load_default(size=14), ImageFont.load_default(size=19)
    legend = ((TARGET, "where to grasp"), (GOAL, "where to go"))
    for k, (colour, words) in enumerate(legend):
        y = WRIST + 22 + 26 * k
        draw.ellipse((FRONT + 14, y, FRONT + 26, y + 12), fill=tuple(int(c) for c in colour))
        draw.text((FRONT + 34, y - 3), words, INK, small)
    notes = ("pointing maps of", "the shipped policy,", "4.5 M parameters,", "one CPU core")
    for k, words in enumerate(notes):
        draw.text((FRONT + 14, WRIST + 92 + 20 * k), words, GREY, small)
    draw.text((12, FRONT + 8), f'"{instruction}"', INK, large)
    draw.text((12, FRONT + 33), f"{seconds:4.1f} s", GREY, small)
    draw.text((72, FRONT + 33), result, GREEN, small)
    return canvas


def clip(policy: Any, env: Any, cameras: Any, seed: int, swapped: bool) -> Iterator[Image.Image]:
    """The frames of one episode; ``swapped``: the same scene, another of its targets."""
    task = env.begin(seed)
    if swapped:
        others = [b for b in task.definition.bindings_in(task.scene) if set(b.goal) != set(task.goal)]
        task = task.definition.instance(task.scene, others[0], np.random.default_rng(seed))
    world, step, success = env.world, 0, False
    policy.reset(task.instruction, seed=seed)
    text = policy.backbone.encode_text([task.instruction])

    def film(maps: np.ndarray, result: str = "") -> Image.Image:
        images = cameras.render(world.data)
        front = overlay(images["front"], maps[0])
        wrist = overlay(np.asarray(Image.fromarray(images["wrist"]).resize((WRIST, WRIST))), maps[1])
        return frame(front, wrist, task.instruction, step * STEP_MS / 1000, result)

    while not success and step < task.steps_limit:
        observation = {"images": world.render(), "state": world.state()}
        maps = pointing_maps(policy, observation, text)
        for action in policy.act(observation)[: policy.execute]:
            if step % EVERY == 0:
                yield film(maps)
            world.step(action)
            step += 1
            success = bool(task.success(world))
            if success:
                break
    last = film(maps, "success, checked by the simulator" if success else "time is up")
    yield from [last] * (1200 // (EVERY * STEP_MS))


def verdict_card() -> Image.Image:
    """What the gate's report says of the shipped policy."""
    report = json.loads((POLICY / "evaluation" / "gate" / "report.json").read_text(encoding="utf-8"))
    judgement = report["summary"]["judgement"]
    checks = [c for c in judgement["checks"].values() if c["threshold"] is not None]
    passed = sum(c["verdict"] == "pass" for c in checks)
    canvas = Image.new("RGB", (FRONT + WRIST, FRONT + BAR), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((40, 90), "vla-agent gate policies/tabletop-nano", GREY, ImageFont.load_default(size=20))
    colour = GREEN if judgement["verdict"] == "pass" else tuple(int(c) for c in TARGET)
    draw.text((40, 130), f"verdict: {judgement['verdict']}", colour, ImageFont.load_default(size=52))
    lines = (
        f"{passed} of {len(checks)} checks passed, {len(report['episodes'])} episodes",
        "success, light, cameras, tables, physics, language,",
        "latency: each with its threshold and error rates",
        "a signed certificate binds the verdict to these weights",
    )
    for k, words in enumerate(lines):
        draw.text((40, 216 + 30 * k), words, INK, ImageFont.load_default(size=19))
    return canvas


def make(out: Path = FILM) -> int:
    """Write the animation, and return its size in bytes."""
    from sim.env import TabletopEnv
    from sim.world.cameras import Cameras
    from vla_agent.policy.loading import load_policy

    policy = load_policy(str(POLICY))
    frames: list[Image.Image] = []
    for task, seed, swapped in EPISODES:
        env = TabletopEnv(task=task)
        cameras = Cameras(env.world.model, (FRONT, FRONT))
        frames += clip(policy, env, cameras, seed, swapped)
        cameras.close()
        env.close()
    frames += [verdict_card()] * (2500 // (EVERY * STEP_MS))
    out.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"duration": EVERY * STEP_MS, "loop": 0, "quality": 60, "method": 6}
    frames[0].save(out, format="WEBP", save_all=True, append_images=frames[1:], **settings)
    return out.stat().st_size


def main() -> None:
    """Command line: ``python -m benchmarks.house.film [-o FILE]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house.film", description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=FILM, help="where to write it (default: docs/img/film.webp)")
    out = parser.parse_args().out
    size = make(out)
    print(f"{out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
