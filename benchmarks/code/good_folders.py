"""More valid inputs to damage, made once by the real code."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inputs.badinput.good_inputs import Good


def adapter(good: Good) -> Path:
    """An adapter's folder on `Good.policy`, untrained."""
    folder = good.root / "adapter"
    if not folder.exists():
        from vla_agent.adapters.adapter_folder import save_adapter
        from vla_agent.adapters.adapter_settings import AdapterSettings
        from vla_agent.adapters.attach import attach
        from vla_agent.policy.loading import load_policy

        settings = AdapterSettings.model_validate({})
        save_adapter(attach(load_policy(good.policy), settings), str(good.policy), folder)
    return folder


def pretrained(good: Good) -> Path:
    """A small pretrained vision-language model with random weights."""
    from benchmarks.shared.random_vlms import save_small_vlm

    folder = good.root / "pretrained"
    return folder if folder.exists() else save_small_vlm("smolvlm", folder)


def speech_model(good: Good) -> Path:
    """A small Whisper with random weights."""
    from benchmarks.shared.random_speech import save_small_whisper

    folder = good.root / "speech"
    return folder if folder.exists() else Path(save_small_whisper(folder))


class Made(Good):
    """The inputs that another process made."""

    @property
    def dataset(self) -> Path:  # type: ignore[override]
        return self.root / "dataset"

    @property
    def policy(self) -> Path:  # type: ignore[override]
        return self.root / "policy"
