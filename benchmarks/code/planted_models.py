"""Robot files and their models, pretrained models and speech models with code, links and paths to other places."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.code.case import Case, Spoil, edit, fifo, linked, pickled, removed
from benchmarks.code.watched_run import Action, Place
from benchmarks.inputs.badinput.good_inputs import Good

ROOT = Path(__file__).resolve().parents[2]
MESH = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
WORLD = '<worldbody><body name="b"><geom type="sphere" size="0.1"/></body></worldbody>'
BODY = f"<mujoco>HEAD<asset>ASSET</asset>{WORLD}</mujoco>"
URDF = '<robot name="r"><link name="b"><visual><geometry><mesh filename="NAME"/></geometry></visual></link></robot>'


def cases() -> Iterator[Case]:
    """Every planted robot file, model and speech model."""
    for name, text, harmless in _robot_texts():
        yield Case("robot", name, _robot_planter(text), harmless)
    for name, model in _models():
        yield Case("robot", name, _model_planter(model))
    for name, spoil in _pretrained():
        yield Case("pretrained model", name, _pretrained_planter(spoil))
    for name, spoil in _speech():
        yield Case("speech model", name, _speech_planter(spoil))


def _robot_actions(file: Path) -> list[Action]:
    def load() -> object:
        from vla_agent.robot.control.controller_factory import skeleton
        from vla_agent.robot.description import load_robot

        return skeleton(load_robot(file))

    def look_ahead() -> object:
        from vla_agent.robot.description import load_robot
        from vla_agent.robot.safety.lookahead import LookAhead

        return LookAhead(load_robot(file))

    return [load, look_ahead]


def _robot_texts() -> Iterator[tuple[str, str | None, bool]]:
    """What stands for ``model:``, or the whole file."""
    yield "a model above the robot file", "../outside/model.xml", False
    yield "a model at an absolute path", "OUTSIDE/model.xml", False
    yield "a model that is a device", "/dev/zero", False
    yield "a package that goes up", "package://sim/../../outside/model.xml", False
    yield "a package with an absolute path", "package://simOUTSIDE/model.xml", False
    yield "a package with an absolute path, two slashes", "package://sim/OUTSIDE/model.xml", False
    yield "a package inside a package, which is imported", "package://planted.part/model.xml", False
    yield "a package that is a folder above", "package://../outside/model.xml", False
    yield "a package without a name", "package:///outside/model.xml", False
    yield "an object of Python as the model", '!!python/object/apply:os.system ["COMMAND"]', False
    yield "a name of Python as the model", "!!python/name:os.system", False
    yield "a URL as the model", "https://huggingface.co/model.xml", False


def _robot_planter(text: str | None) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        (place.outside / "model.xml").write_text(BODY.replace("HEAD", "").replace("ASSET", ""))
        (place.folder / "planted").mkdir()
        (place.folder / "planted/__init__.py").write_text(place.code)
        (place.folder / "planted/part").mkdir()
        (place.folder / "planted/part/__init__.py").write_text("")
        filled = str(text).replace("OUTSIDE", str(place.outside)).replace("COMMAND", place.shell)
        file = _robot_file(place, filled)

        def here(action: Callable[[], object]) -> Callable[[], object]:
            def run() -> object:
                import sys

                sys.path.insert(0, "")  # as for a program that was started with `python -m`
                return action()

            return run

        return [here(action) for action in _robot_actions(file) if callable(action)]

    return plant


def _robot_file(place: Place, model: str) -> Path:
    lines = (ROOT / "config/robots/panda.yaml").read_text().splitlines()
    file = place.folder / "robot.yaml"
    file.write_text("\n".join(f"model: {model}" if line.startswith("model:") else line for line in lines) + "\n")
    return file


def _models() -> Iterator[tuple[str, Callable[[Place], str | None]]]:
    """The text of ``model.xml`` beside the robot file; None: it was written already."""

    def text(head: str = "", asset: str = "", body: str = BODY) -> Callable[[Place], str]:
        return lambda p: body.replace("HEAD", head).replace("ASSET", asset).replace("OUTSIDE", str(p.outside))

    mesh = '<mesh name="m" file="FILE"/>'
    yield "an include above", text('<include file="../outside/part.xml"/>')
    yield "an include at an absolute path", text('<include file="OUTSIDE/part.xml"/>')
    yield "an include of a secret", text('<include file="../outside/secret"/>')
    yield "a mesh above", text(asset=mesh.replace("FILE", "../outside/mesh.obj"))
    yield "a mesh at an absolute path", text(asset=mesh.replace("FILE", "OUTSIDE/mesh.obj"))
    yield "meshdir above", text('<compiler meshdir="../outside"/>', mesh.replace("FILE", "mesh.obj"))
    yield "meshdir at an absolute path", text('<compiler meshdir="OUTSIDE"/>', mesh.replace("FILE", "mesh.obj"))
    yield "assetdir above", text('<compiler assetdir="../outside"/>', mesh.replace("FILE", "mesh.obj"))
    yield "a texture above", text(asset='<texture name="t" type="2d" file="../outside/picture.png"/>')
    yield (
        "a side of a cube texture above",
        text(asset='<texture name="t" type="cube" fileright="../outside/picture.png"/>'),
    )
    yield "a height field above", text(asset='<hfield name="h" size="1 1 1 1" file="../outside/picture.png"/>')
    yield "a skin above", text(asset='<skin name="s" file="../outside/skin.skn"/>')
    yield "another model above", text(asset='<model name="other" file="../outside/part.xml"/>')
    yield (
        "an entity that is a file",
        lambda p: f'<!DOCTYPE m [<!ENTITY e SYSTEM "file://{p.outside}/secret">]>' + text("&e;")(p),
    )
    yield "an external subset", lambda p: f'<!DOCTYPE m SYSTEM "{p.outside}/secret">' + text()(p)
    yield "URDF with a mesh above", lambda p: URDF.replace("NAME", "../outside/mesh.obj")
    yield "URDF with a mesh at an absolute path", lambda p: URDF.replace("NAME", f"{p.outside}/mesh.obj")
    yield "URDF with file://", lambda p: URDF.replace("NAME", f"file://{p.outside}/mesh.obj")
    yield "URDF with a package that goes up", lambda p: URDF.replace("NAME", "package://../outside/mesh.obj")
    yield "a mesh that is a link", _linked_mesh
    yield "a model that is a link", _linked_model
    yield "a mesh that is a FIFO", lambda p: (
        fifo(p.folder / "mesh.obj"),
        text(asset=mesh.replace("FILE", "mesh.obj"))(p),
    )[1]  # fmt: skip
    yield "an include that includes above", lambda p: (
        (p.folder / "part.xml").write_text('<mujoco><include file="../outside/part.xml"/></mujoco>'),
        text('<include file="part.xml"/>')(p),
    )[1]  # fmt: skip
    yield "an included part that sets meshdir", lambda p: (
        (p.folder / "part.xml").write_text('<mujoco><compiler meshdir="../outside"/></mujoco>'),
        text('<include file="part.xml"/>', mesh.replace("FILE", "mesh.obj"))(p),
    )[1]  # fmt: skip


def _linked_mesh(place: Place) -> str:
    (place.folder / "mesh.obj").symlink_to(place.outside / "mesh.obj")
    return BODY.replace("HEAD", "").replace("ASSET", '<mesh name="m" file="mesh.obj"/>')


def _linked_model(place: Place) -> None:
    (place.folder / "model.xml").symlink_to(place.outside / "whole.xml")


def _model_planter(model: Callable[[Place], str | None]) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        (place.outside / "mesh.obj").write_text(MESH)
        (place.outside / "part.xml").write_text('<mujoco><worldbody><site name="s"/></worldbody></mujoco>')
        (place.outside / "whole.xml").write_text(BODY.replace("HEAD", "").replace("ASSET", ""))
        shutil.copyfile(ROOT / "sim/assets/palette.png", place.outside / "picture.png")
        text = model(place)
        if text is not None:
            (place.folder / "model.xml").write_text(text)
        return _robot_actions(_robot_file(place, "model.xml"))

    return plant


AUTO = {
    "AutoConfig": "planted.Planted",
    "AutoModelForImageTextToText": "planted.Planted",
    "AutoModel": "planted.Planted",
}


def _pretrained() -> Iterator[tuple[str, Spoil]]:
    def module(folder: Path, place: Place) -> int:
        return (folder / "planted.py").write_text(place.code + "class Planted:\n    pass\n")

    yield "auto_map", lambda f, p: (module(f, p), edit(f / "config.json", auto_map=AUTO))
    yield (
        "auto_map, unknown model_type",
        lambda f, p: (
            module(f, p),
            edit(f / "config.json", auto_map=AUTO, model_type="planted"),
        ),
    )
    yield (
        "auto_map of the tokenizer",
        lambda f, p: (
            module(f, p),
            edit(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["planted.Planted", None]}),
        ),
    )
    yield "a kernel of the hub", lambda f, p: edit(f / "config.json", attn_implementation="owner/kernel")
    yield "weights as a pickle", _pickle_in_place
    yield "weights that are a link", lambda f, p: linked(f / "model.safetensors", p)
    yield "a configuration that is a link", lambda f, p: linked(f / "config.json", p)
    yield (
        "weights that are a FIFO",
        lambda f, p: (fifo(f / "model.safetensors"),),
    )
    yield "a name that looks like the hub's", lambda f, p: shutil.rmtree(f)


def _pretrained_planter(spoil: Spoil) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        from benchmarks.code.good_folders import pretrained

        folder = Path(shutil.copytree(pretrained(good), place.folder / "nobody/model"))
        spoil(folder, place)

        def load() -> object:
            from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
            from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm

            return open_vlm("nobody/model", VLMOptions())

        settings = ["vlm.model=nobody/model", "pretrain.samples=0", "name_stem.samples=0", "data.questions=[]"]
        settings += [f"data.demonstrations=[{good.dataset}]", "train_head.samples=1"]
        settings += ["collect=[]", "questions=[]", "rounds=[]"]
        train = ["train", str(ROOT / "policies/tabletop-nano.yaml"), "-o", "trained"]
        return [load, train + [part for setting in settings for part in ("--set", setting)]]

    return plant


def _pickle_in_place(folder: Path, place: Place) -> None:
    removed(folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickled(place))


def _speech() -> Iterator[tuple[str, Spoil]]:
    yield (
        "auto_map",
        lambda f, p: (
            (f / "planted.py").write_text(p.code),
            edit(
                f / "config.json",
                auto_map=AUTO | {"AutoModelForSpeechSeq2Seq": "planted.Planted"},
                model_type="planted",
            ),
        ),
    )
    yield (
        "auto_map of the processor",
        lambda f, p: (
            (f / "planted.py").write_text(p.code),
            edit(
                f / "preprocessor_config.json",
                auto_map={"AutoProcessor": "planted.P", "AutoFeatureExtractor": "planted.P"},
            ),
        ),
    )
    yield "weights as a pickle", _pickle_in_place
    yield "weights that are a link", lambda f, p: linked(f / "model.safetensors", p)
    yield "a name that looks like the hub's", lambda f, p: shutil.rmtree(f)


def _speech_planter(spoil: Spoil) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        from benchmarks.code.good_folders import speech_model

        spoil(Path(shutil.copytree(speech_model(good), place.folder / "nobody/speech")), place)

        def load() -> object:
            from vla_agent.ros.runtime.speech import SpeechRecogniser

            return SpeechRecogniser("nobody/speech")

        return [load]

    return plant
