"""A training in the window while it runs: losses, speed, how much is done, and what its newest checkpoint sees."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vla_agent.errors import OptionError, VlaAgentError
from vla_agent.view.source import Choice, Command, Control, Frame, Slider, Status, Toggle
from vla_agent.view.sources.trainings.log_follower import LogFollower

HZ = 2.0
QUIET = 60.0  # seconds without a new row after which nobody seems to train
NEWEST = "the newest"
SECTIONS = {"head": "train_head"}  # log -> section of the recipe, where they have other names
SAMPLES = 8  # see `checkpoint_glimpse.SAMPLES`, which needs torch


@dataclass(frozen=True)
class TrainingSettings:
    """``folder``: what `vla-agent train -o` names.  ``validation``: a dataset that it does not see; empty: its own."""

    folder: Path
    validation: str = ""


def is_training(folder: Path) -> bool:
    """Whether a folder is that of a training."""
    return (folder / "recipe.yaml").is_file() and not (folder / "policy.json").is_file()


class TrainingSource:
    """See `vla_agent.view.source.Source`."""

    hz = HZ

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self.title = f"training: {settings.folder.resolve().name}"
        self._logs: dict[str, LogFollower] = {}
        self._chosen, self._logarithmic, self._looks, self._number = NEWEST, True, False, 0
        self._glimpse: Any = None
        self._sample: Any = None
        self._new = True
        self._told: Status | None = None

    def open(self) -> None:
        """Find the logs.

        Raises:
            OptionError: the folder is not that of a training.
        """
        if not is_training(self._settings.folder):
            raise OptionError(
                "the folder holds no training",
                file=self._settings.folder,
                expected="a folder with recipe.yaml, as vla-agent train -o makes it",
                found="a policy" if (self._settings.folder / "policy.json").is_file() else "none",
                remedy="name the folder that was given to -o",
            )
        self._find()

    @property
    def controls(self) -> tuple[Control, ...]:
        return (
            Choice("stage", "stage", (NEWEST,), NEWEST, "of which run and stage the losses are"),
            Toggle("logarithmic", "logarithmic", True, "of the losses"),
            Toggle("samples", "sample predictions", False, "load the newest checkpoint: takes memory and some seconds"),
            Slider("sample", "sample", 0, SAMPLES - 1, 1, 0, hint='"named things" draws squares where it should point'),
        )

    def _find(self) -> None:
        """Logs of the folder and its runs, ``run-0`` and so on."""
        folder = self._settings.folder
        for file in sorted([*folder.glob("*.jsonl"), *folder.glob("run-*/*.jsonl")]):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name not in self._logs and file.name != "steps.jsonl":
                self._logs[name] = LogFollower(file)

    def step(self) -> Frame | None:
        """What is new; None where nothing is."""
        self._find()
        new = [log.read() for log in self._logs.values()]
        if self._looks and self._glimpse is not None and self._glimpse.refresh():
            self._sample, new = None, [True]
        status = self._status()  # that it has stopped, or is finished, is news without a new row
        if not (any(new) or self._new or status != self._told):
            return None
        self._new, self._told = False, status
        if self._looks:
            self._look()
        return self._frame(status)

    def _look(self) -> None:
        """Look at the chosen sample with the newest checkpoint.

        Raises:
            VlaAgentError: recipe or data cannot be read.
        """
        if self._glimpse is None:
            from vla_agent.view.sources.trainings.checkpoint_glimpse import CheckpointGlimpse

            try:
                self._glimpse = CheckpointGlimpse(self._run_folder(), self._settings.validation)
            except VlaAgentError:
                self._looks = False
                raise
            self._glimpse.refresh()
        if self._sample is None:
            self._sample = self._glimpse.look(self._number)

    def _run_folder(self) -> Path:
        """The newest run's folder, whose recipe says how its policy is built."""
        name = self._newest()
        return self._logs[name].file.parent if name else self._settings.folder

    def _newest(self) -> str:
        """The log that was written last; empty where none has a row."""
        written = [name for name, log in self._logs.items() if log.rows]
        return max(written, key=lambda name: self._logs[name].changed, default="")

    def command(self, command: Command) -> None:
        """Choose what is shown."""
        name, value = command.name, command.value
        self._new = True
        if name == "stage":
            self._chosen = str(value)
        elif name == "logarithmic":
            self._logarithmic = bool(value)
        elif name == "samples":
            self._looks, self._sample = bool(value), None
        else:
            self._number, self._sample = int(float(str(value))), None

    def close(self) -> None:
        """Nothing is open between two looks."""

    def _frame(self, status: Status) -> Frame:
        name = self._chosen if self._chosen in self._logs else self._newest()
        log = self._logs.get(name)
        sample = self._sample if self._looks else None
        plots = [log.loss_plot(self._logarithmic), log.speed_plot()] if log is not None and log.rows else []
        return Frame(
            taken=time.time(),
            status=status,
            pictures=sample.pictures if sample is not None else (),
            plots=tuple(plots + ([sample.chunk] if sample is not None else [])),
            facts=self._facts(name, log) | (self._sample_facts() if sample is not None else {}),
            rates={} if log is None or not log.speed > 0 else {"samples": log.speed},
            values={"samples": self._looks},
            options={"stage": (NEWEST, *self._logs)},
        )

    def _status(self) -> Status:
        if (self._settings.folder / "policy" / "policy.json").is_file():
            return Status("finished: the policy is written", "good")
        newest = self._newest()
        if not newest:
            return Status("no losses yet: data is being made or read", "idle")
        quiet = time.time() - self._logs[newest].changed
        if quiet > QUIET:
            return Status(f"nothing new for {quiet / 60:.0f} min: stopped, or a step between two stages", "warning")
        return Status(f"training: {newest}", "good")

    def _facts(self, name: str, log: LogFollower | None) -> dict[str, str]:
        if log is None or not log.rows:
            return {"folder": str(self._settings.folder)}
        last = log.rows[-1]
        total = stage_samples(log.file)
        done = f"{last['samples']:,.0f}" + (f" of {total:,} ({last['samples'] / total:.0%})" if total else "")
        facts = {"stage": name, "samples": done, "training time": f"{last['seconds'] / 60:.1f} min"}
        if total and log.speed > 0:
            facts["left"] = f"{max(0.0, total - last['samples']) / log.speed / 60:.1f} min at this speed"
        return facts | {key: f"{last[key]:.4g}" for key in log.losses if key in last}

    def _sample_facts(self) -> dict[str, str]:
        glimpse, sample = self._glimpse, self._sample
        stage = f"{glimpse.stage}, step {glimpse.step}" if glimpse.step >= 0 else "none yet: untrained weights"
        facts = {"checkpoint": stage, "samples are": glimpse.where, "instruction": sample.instruction}
        return facts | ({} if sample.error is None else {"chunk error, normalised": f"{sample.error:.3f}"})


def stage_samples(log: Path) -> int:
    """How many samples a stage has, by the recipe beside its log; 0 where that does not say so."""
    try:
        recipe = YAML(typ="safe").load((log.parent / "recipe.yaml").read_text())
        return int(recipe[SECTIONS.get(log.stem, log.stem)]["samples"])
    except (OSError, YAMLError, KeyError, TypeError, ValueError, OverflowError):
        return 0
