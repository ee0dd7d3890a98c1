"""Policy folders with links, special files and odd names; adapters; names that are no folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.code.case import Case, Spoil, edit, fifo, linked, outside_copy, pickled
from benchmarks.code.planted_policies import policy_actions, policy_planter
from benchmarks.code.watched_run import Action, Place
from benchmarks.inputs.badinput.good_inputs import Good

LINKED = (
    "policy.json",
    "head.safetensors",
    "backbone",
    "backbone/config.json",
    "backbone/model.safetensors",
    "backbone/tokenizer.json",
    "backbone/tokenizer_config.json",
    "backbone/preprocessor_config.json",
)
ODD = (
    "Policy.json",
    "POLICY.JSON",
    "head.safetensors.",
    "head.safetensors ",
    " policy.json",
    ".policy.json",
    "policy.json~",
    "policy\u200b.json",
    "policy\u202enosj.json",
    "p\u043elicy.json",
    "policy.json\n",
    "backbone\\config.json",
    "..policy.json",
    "head.safetensors:stream",
    "readme.md",
    "a" * 250,
    "recipe-\u0661.yaml",
)
NOT_HERE = (
    "policies/nowhere",
    "./policies/nowhere",
    "nobody/nothing",
    "nobody/nothing/",
    "nobody//nothing",
    "nobody\\nothing",
    "Policies/Tabletop-nano",
    "POLICIES/tabletop-nano",
    "~/nothing",
    "runs/mine",
    "../nobody/nothing",
    " nobody/nothing",
    "hf:nobody/nothing",
    "https://huggingface.co/nobody/nothing",
    "file:///nobody/nothing",
)


def cases() -> Iterator[Case]:
    """Every planted folder and name."""
    for turn, (name, spoil) in enumerate([*_links(), *_special(), *_odd()]):
        yield Case("policy: links and names", name, policy_planter(spoil, turn))
    yield from _snapshots()
    for name, change in _adapters():
        yield Case("adapter", name, _adapter_planter(change))
    for name in NOT_HERE:
        yield Case("name", f"{name!r} is no name of the hub", _name_planter(name))


def _links() -> Iterator[tuple[str, Spoil]]:
    for name in LINKED:
        yield f"{name} is a link to a valid copy outside", partial(_link, name)
    yield "a record is a link", lambda f, p: (f / "README.md").symlink_to(p.outside / "secret")
    yield "the folder of reports is a link", lambda f, p: (f / "evaluation").symlink_to(p.outside)
    yield (
        "a link to another file of the folder",
        lambda f, p: (f / "backbone/added_tokens.json").symlink_to("config.json"),
    )
    yield "a link that goes up", lambda f, p: (f / "backbone/vocab.json").symlink_to("../../../outside/secret")
    yield "a link to nothing", lambda f, p: (f / "backbone/vocab.json").symlink_to("nothing")
    yield "a link to itself", lambda f, p: (f / "backbone/vocab.json").symlink_to("vocab.json")
    yield "a link to a device", lambda f, p: (f / "backbone/vocab.json").symlink_to("/dev/zero")
    yield "a link to the folder above", lambda f, p: (f / "backbone/fused").symlink_to("..")
    yield "a link as the hub's cache has, elsewhere", _blob_elsewhere


def _blob_elsewhere(folder: Path, place: Place) -> None:
    blob = "a" * 64
    shutil.copyfile(folder / "head.safetensors", place.outside / blob)
    (folder.parent / "blobs").symlink_to(place.outside)
    (folder / "head.safetensors").unlink()
    (folder / "head.safetensors").symlink_to(f"../blobs/{blob}")


def _special() -> Iterator[tuple[str, Spoil]]:
    for name in ("policy.json", "head.safetensors", "backbone/config.json", "backbone/vocab.json", "README.md"):
        yield f"{name} is a FIFO", partial(_fifo, name)
    yield "a socket", _socket
    yield "a folder in place of a file", lambda f, p: (f / "backbone/vocab.json").mkdir()
    yield "a file in place of a folder", lambda f, p: (f / "evaluation").write_text("")
    yield "an unknown folder", lambda f, p: (f / "weights").mkdir()
    yield "a folder in a folder", lambda f, p: shutil.copytree(f / "backbone", f / "backbone/backbone")


def _fifo(name: str, folder: Path, place: Place) -> None:
    fifo(folder / name)


def _link(name: str, folder: Path, place: Place) -> None:
    linked(folder / name, place)


def _empty(name: str, folder: Path, place: Place) -> None:
    (folder / name).write_text("{}")


def _socket(folder: Path, place: Place) -> None:
    here = os.getcwd()
    os.chdir(folder / "backbone")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("vocab.json")
    os.chdir(here)


def _odd() -> Iterator[tuple[str, Spoil]]:
    for name in ODD:
        yield f"a file named {ascii(name)[:40]}", partial(_empty, name)
    yield "a name that is no text", lambda f, p: open(os.fsencode(f) + b"/\xff.json", "w").close()
    yield (
        "a name in another normal form",
        lambda f, p: (f / unicodedata.normalize("NFD", "r\u00e9cipe.yaml")).write_text(""),
    )
    yield "backbone in upper case", lambda f, p: (f / "backbone").rename(f / "Backbone")
    yield "a policy's and an adapter's files", lambda f, p: edit(f / "adapter.json", base={})


def _snapshots() -> Iterator[Case]:
    """Folders as the hub's cache has them, whose links lead elsewhere."""

    def snapshot(change: Callable[[Path, Place], None]) -> Callable[[Place, Good], list[Action]]:
        def plant(place: Place, good: Good) -> list[Action]:
            model = place.folder / "models--owner--name"
            folder = good.copy("policy", model / "snapshots" / ("0" * 40))
            (model / "blobs").mkdir()
            change(folder, place)
            return policy_actions(folder, good, 0)

        return plant

    blob = "b" * 64

    def outside_blob(folder: Path, place: Place) -> None:
        target = outside_copy(folder / "head.safetensors", place, "head")
        (folder.parents[1] / "blobs" / blob).symlink_to(target)
        _relink(folder / "head.safetensors", f"../../blobs/{blob}")

    def outside_blobs(folder: Path, place: Place) -> None:
        outside_copy(folder / "head.safetensors", place, blob)
        (folder.parents[1] / "blobs").rmdir()
        (folder.parents[1] / "blobs").symlink_to(place.outside)
        _relink(folder / "head.safetensors", f"../../blobs/{blob}")

    def beyond(folder: Path, place: Place) -> None:
        outside_copy(folder / "head.safetensors", place, "head")
        _relink(folder / "head.safetensors", "../../blobs/../../../outside/head")

    def waiting(folder: Path, place: Place) -> None:
        fifo(folder.parents[1] / "blobs" / blob)
        _relink(folder / "head.safetensors", f"../../blobs/{blob}")

    for name, change in (
        ("a blob that is a link", outside_blob),
        ("blobs that are a link", outside_blobs),
        ("a link beyond the blobs", beyond),
        ("a blob that is a FIFO", waiting),
    ):
        yield Case("policy: links and names", f"hub's cache: {name}", snapshot(change))


def _relink(file: Path, target: str) -> None:
    file.unlink()
    file.symlink_to(target)


def _adapters() -> Iterator[tuple[str, Spoil]]:
    def base(**changes: object) -> Spoil:
        def change(folder: Path, place: Place) -> None:
            described = json.loads((folder / "adapter.json").read_text())["base"]
            filled = {key: str(value).replace("OUTSIDE", str(place.outside)) for key, value in changes.items()}
            edit(folder / "adapter.json", base=described | {"beside": "nowhere"} | filled)

        return change

    yield "code beside an adapter", lambda f, p: (f / "adapter.py").write_text(p.code)
    yield "a pickle as adapter_model.bin", lambda f, p: (f / "adapter_model.bin").write_bytes(pickled(p))
    yield "a pickle named adapter.safetensors", lambda f, p: (f / "adapter.safetensors").write_bytes(pickled(p))
    yield "weights that are a link", lambda f, p: linked(f / "adapter.safetensors", p)
    yield "a description that is a link", lambda f, p: linked(f / "adapter.json", p)
    yield "a base on the hub", base(name="hf://nobody/nothing")
    yield "a base that looks like the hub's", base(name="nobody/nothing")
    yield "a base that is a folder of secrets", base(name="OUTSIDE")
    yield "a base that is a secret file", base(name="OUTSIDE/secret")
    yield "a base beside that is a folder of secrets", base(name="nowhere", beside="../../outside")
    yield "a base with a NUL in its name", base(name="a\0b")
    yield "a base of a server", base(name="ws://127.0.0.1:9")
    yield "a base that is its own adapter", base(name=".")


def _adapter_planter(change: Spoil) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        from benchmarks.code.good_folders import adapter

        folder = Path(shutil.copytree(adapter(good), place.folder / "adapter"))
        change(folder, place)
        return policy_actions(folder, good, 0)

    return plant


def _name_planter(name: str) -> Callable[[Place, Good], list[Action]]:
    def plant(place: Place, good: Good) -> list[Action]:
        def load() -> object:
            from vla_agent.policy.loading import load_policy

            return load_policy(name)

        return [load, ["inspect", name], ["verify", "none.json", "--policy", name]]

    return plant
