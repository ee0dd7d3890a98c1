"""Code, links and odd names in everything that is read: how often planted code ran, or something outside was read."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.code.case import Case
from benchmarks.code.watched_run import Place, Seen, watched, watched_process

NAME = "gate-code"
TITLE = "folders and files with code, links, indices and odd names: executed, or read outside"
TARGET = 0.0
UNIT = "cases"
BETTER = "lower"
LEAST = 100
WORKERS = 2
ALONE = "vla-agent"  # first of the arguments of a command that runs as an installed one
SHORT = 3.0  # seconds: a control that blocks


def run(kinds: tuple[str, ...] = (), workers: int = WORKERS) -> dict[str, Any]:
    """Plant every case, and run what reads it.

    Args:
        kinds: only these kinds of cases.
    """
    chosen = [i for i, case in enumerate(all_cases()) if not kinds or case.kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        _make_good(good)
        noticed = {name: bool(seen.faults) for name, seen in _controls(Path(folder) / "controls", good)}
        with ProcessPoolExecutor(workers, get_context("spawn"), _warm, (str(Path.cwd()),)) as pool:
            results = list(pool.map(partial(_play, Path(folder), good), chosen))
    table = Counter(kind for kind, *_ in results)
    faults = [f"{kind}, {name}: {'; '.join(found)}" for kind, name, found, _ in results if found]
    loaded = [f"{kind}, {name}" for kind, name, _, accepted in results if accepted]
    blind = [name for name, seen in noticed.items() if not seen]
    faulty = Counter(kind for kind, _, found, _ in results if found)
    return {
        "value": len(faults),
        "n": len(results),
        "interval": None,
        "seeds": [],
        "passed": not faults and not blind and (bool(kinds) or len(results) >= LEAST),
        "rows": [{"planted in": kind, "cases": table[kind], "executed_or_read": faulty[kind]} for kind in table],
        "notes": "Each case is read by the function and the commands that read such a folder, in a process of its own "
        "whose standard input answers y. Code would leave a mark; openings of files outside are noticed by inotify, "
        "their secret in the output, connections by Python's audit hook, waiting by a time limit. "
        f"{len(noticed)} controls "
        f"that do each of these, transformers with trust_remote_code among them, were "
        f"{'all noticed' if not blind else 'NOT all noticed: ' + ', '.join(blind)}. "
        f"Went wrong: {'; '.join(faults) or 'none'}. Planted where nothing reads it, or read as data, and therefore "
        f"not refused: {len(loaded)} ({'; '.join(loaded)}).",
    }


def all_cases() -> list[Case]:
    """Every case, always in the same order."""
    from benchmarks.code import planted_data, planted_models, planted_names, planted_policies

    modules = (planted_policies, planted_names, planted_models, planted_data)
    return [case for module in modules for case in module.cases()] + list(_commands())


def _make_good(root: Path) -> None:
    from benchmarks.code import good_folders
    from benchmarks.inputs.badinput.good_inputs import Good
    from vla_agent.gate.certificate import keys

    root.mkdir()
    good = Good(root)
    for make in (good_folders.adapter, good_folders.pretrained, good_folders.speech_model):
        make(good)
    assert good.dataset
    keys.create("lab", root / "keys")


def _warm(cwd: str) -> None:
    """Import what the forked processes need; one thread, as a fork takes no others along."""
    import os

    sys.path.insert(0, cwd)
    os.environ["HF_HUB_OFFLINE"] = "0"
    import torch

    torch.set_num_threads(1)
    import vla_agent.adapters.adapter_folder
    import vla_agent.policy.loading
    import vla_agent.ros.runtime.speech
    import vla_agent.training.demonstrations  # noqa: F401


def _play(root: Path, good: Path, number: int) -> tuple[str, str, list[str], bool]:
    """Kind, name, what went wrong, and whether the first action, which loads it, ended without a refusal."""
    import os

    from benchmarks.code.good_folders import Made

    os.environ["VLA_AGENT_KEYS"] = str(good / "keys")
    case, folder = all_cases()[number], root / f"case-{number}"
    place = Place.make(folder)
    faults: list[str] = []
    ends: list[bool] = []
    for action in case.plant(place, Made(good)):
        if isinstance(action, list) and action[0] == ALONE:
            seen = watched_process(action[1:], place)
        else:
            seen = watched(action, place)
        faults += seen.faults
        ends.append(seen.refused)
    shutil.rmtree(folder, ignore_errors=True)
    return case.kind, case.name, sorted(set(faults)), not ends[0]


def _commands() -> Iterator[Case]:
    """The installed command itself, in the planted folder, with `yes` at its input."""
    from benchmarks.code.planted_policies import EVAL, module, set_keys

    auto = {"AutoConfig": "planted.Planted", "AutoModelForImageTextToText": "planted.Planted"}

    def unknown(folder: Path, place: Place) -> None:
        module(folder, place, "planted.py")
        set_keys("backbone/config.json", auto_map=auto, model_type="planted")(folder, place)

    def shadows(folder: Path, place: Place) -> None:
        for name in ("torch.py", "transformers.py", "json.py", "sitecustomize.py", "numpy.py", "vla_agent.py"):
            (folder / name).write_text(place.code)

    def plant(spoil: Callable[[Path, Place], None], place: Place, good: Any) -> list[Any]:
        folder = good.copy("policy", place.folder / "policy")
        spoil(folder, place)
        shutil.copytree(folder, place.folder, dirs_exist_ok=True)  # the command starts there
        return [[ALONE, "eval", ".", *EVAL]]

    yield Case("installed command", "auto_map and an unknown model_type", partial(plant, unknown))
    yield Case("installed command", "modules named as the libraries, in the working directory", partial(plant, shadows))


def _controls(root: Path, good: Path) -> Iterator[tuple[str, Seen]]:
    """Actions that do what must not happen; each must be noticed."""
    actions: dict[str, Callable[[Place], Callable[[], Any]]] = {
        "code runs": lambda p: lambda: exec(p.code),
        "a file outside is opened": lambda p: lambda: (p.outside / "secret").open().close(),
        "a secret is printed": lambda p: (lambda text: lambda: print(text))((p.outside / "secret").read_text()),
        "a name is looked up": lambda p: _look_up,
        "a FIFO is waited for": lambda p: partial(_wait_for_fifo, p),
        "a question is answered": lambda p: partial(_ask, p),
        "a pickle is loaded": lambda p: partial(_unpickle, p),
        "transformers trusts a folder": lambda p: partial(_trust, p, good),
    }
    for number, (name, action) in enumerate(actions.items()):
        place = Place.make(root / str(number))
        yield name, watched(action(place), place, SHORT if "FIFO" in name else 60.0)


def _ask(place: Place) -> None:
    if input("run it? ") == "y":
        exec(place.code)


def _look_up() -> None:
    import socket
    from contextlib import suppress

    with suppress(OSError):
        socket.getaddrinfo("huggingface.co", 443)


def _wait_for_fifo(place: Place) -> None:
    import os

    os.mkfifo(place.folder / "fifo")
    (place.folder / "fifo").read_bytes()


def _unpickle(place: Place) -> None:
    import pickle

    from benchmarks.code.case import pickled

    pickle.loads(pickled(place))


def _trust(place: Place, good: Path) -> None:
    """What the planted policies would do without the checks: the same folder, trusted."""
    from transformers import AutoConfig

    from benchmarks.code.case import edit

    folder = place.folder / "backbone"
    shutil.copytree(good / "policy/backbone", folder)
    (folder / "planted.py").write_text(f"from transformers import PretrainedConfig as Planted\n{place.code}")
    edit(folder / "config.json", auto_map={"AutoConfig": "planted.Planted"}, model_type="planted")
    AutoConfig.from_pretrained(folder, trust_remote_code=True)
