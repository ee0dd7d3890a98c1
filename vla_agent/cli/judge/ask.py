"""``vla-agent ask``: what a policy sees in an image, in words, with confidence, and drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vla_agent.cli.output_name import require_suffix
from vla_agent.errors import OptionError

EPILOG = """\
examples:
  vla-agent ask policies/tabletop-nano put_in_tray:7 "is there a red mug?"
  vla-agent ask policies/tabletop-nano place_beside:12 "what is left of the red mug?" -o answer.png
  vla-agent ask policies/tabletop-nano front.png --wrist wrist.png "name the objects from left to right" --json

SCENE is FAMILY:SEED of the simulator.  IMAGE is a PNG or JPEG of the front camera, scaled to what the policy sees;
without --wrist the wrist camera is black.  Understood: existence, counts, relations, "what is left of", colour, shape,
"where is", lists, "describe the picture".  Other questions go to the policy's decoder, and are marked so.

Confidence is the probability that the policy gives to what its answer rests on; for existence it is calibrated.
next: vla-agent eval POLICY; its report names what the policy refused
"""


def add_parser(subparsers: Any) -> None:
    """Add ``ask`` to the command line."""
    parser = subparsers.add_parser(
        "ask",
        help="ask a policy what it sees",
        description="Ask a policy about an image or a simulated scene; the answer has a confidence.",
        epilog=EPILOG,
    )
    parser.add_argument("policy", metavar="POLICY", help="folder of a policy that has a sight")
    parser.add_argument("scene", metavar="IMAGE|SCENE", help="picture of the front camera, or FAMILY:SEED")
    parser.add_argument("question", metavar="QUESTION", help='such as "is there a red mug?"')
    parser.add_argument("--wrist", type=Path, metavar="IMAGE", help="picture of the wrist camera, beside an image")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="draw the answer on the image (.png)")
    parser.add_argument("--json", action="store_true", help="print JSON: answer, confidence, source, things with boxes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer one question."""
    require_suffix(args.out, ".png", "-o")
    from vla_agent.evaluation.asking.answerer import Answerer
    from vla_agent.policy.loading import load_policy

    policy = load_policy(args.policy)
    answerer = Answerer(policy)
    images = _images(args, policy.contract)
    answerer.look(images)
    answer = answerer.answer(args.question)
    if args.json:
        print(json.dumps({"question": args.question} | answer.to_dict()))
    else:
        note = "" if answer.source == "sight" else f", source: {answer.source}"
        print(f"{answer.text}    (confidence {answer.confidence:.0%}{note})")
    if args.out is not None:
        from vla_agent.evaluation.asking.drawing import draw
        from vla_agent.files.write_aside import file_aside

        with file_aside(args.out) as aside, aside.open("wb") as file:
            draw(images[policy.contract.camera_names[0]], args.question, answer).save(file, format="PNG")
    return 0


def _images(args: argparse.Namespace, contract: Any) -> dict[str, Any]:
    """Camera -> (H, W, 3) uint8 in the contract's sizes."""
    if not Path(args.scene).is_file():
        return _scene_images(args.scene, contract)
    import numpy as np

    files = dict(zip(contract.camera_names, (Path(args.scene), args.wrist), strict=False))
    images = {}
    for camera in contract.cameras:
        file = files.get(camera.name)
        black = np.zeros((camera.height, camera.width, 3), np.uint8)
        images[camera.name] = black if file is None else _picture(file, (camera.width, camera.height))
    return images


def _picture(file: Path, size: tuple[int, int]) -> Any:
    import numpy as np
    from PIL import Image

    from vla_agent.files.bounded_pictures import PictureError, decode_picture
    from vla_agent.files.bounded_reading import read_bytes
    from vla_agent.files.input_limits import PICTURE_BYTES

    try:
        picture = decode_picture(read_bytes(file, OptionError, PICTURE_BYTES))
    except PictureError as error:
        raise OptionError(
            error.what, file=file, expected=error.expected, found=error.found, remedy=error.remedy
        ) from error
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _scene_images(scene: str, contract: Any) -> dict[str, Any]:
    from sim.env import TabletopEnv
    from sim.tasks.task import select

    family, _, seed = scene.partition(":")
    if not seed.isdecimal():
        raise OptionError(
            "there is no such image or scene",
            key="IMAGE|SCENE",
            expected="a PNG or JPEG file, or FAMILY:SEED such as put_in_tray:7",
            found=scene,
            remedy="check the path",
        )
    (task,) = select([family]).values()
    camera = contract.cameras[0]
    env = TabletopEnv(task=task, image_size=(camera.height, camera.width))
    try:
        env.begin(int(seed))
        return dict(env.world.render())
    finally:
        env.close()
