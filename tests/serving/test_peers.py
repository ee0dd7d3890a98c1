"""Policies of LeRobot: the keys that fit and those that do not, and, with LeRobot itself, from training to a report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim.tasks.task import load_suite
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ContractError
from vla_agent.peers.lerobot_policy import Keys, require_fit
from vla_agent.peers.serve import main
from vla_agent.serving.protocol_messages import SERVED_WITH

ROOT = Path(__file__).parents[2]
CONTRACT = tabletop_contract()
FITTING = {
    "observation.images.front": (3, 96, 96),
    "observation.images.wrist": (3, 96, 96),
    "observation.state": (CONTRACT.state_dim,),
    "action": (CONTRACT.action_dim,),
}


def test_a_policy_with_our_keys_fits():
    require_fit(FITTING, CONTRACT, Keys(), "folder")
    for key in FITTING:
        with pytest.raises(ContractError, match=key.replace(".", r"\.")):
            require_fit({k: v for k, v in FITTING.items() if k != key}, CONTRACT, Keys(), "folder")


def test_a_camera_goes_under_another_key_where_it_is_mapped():
    top = {("observation.images.top" if k.endswith("front") else k): v for k, v in FITTING.items()}
    with pytest.raises(ContractError, match=r"images\.front; observation\.images\.top"):
        require_fit(top, CONTRACT, Keys(), "folder")
    require_fit(top, CONTRACT, Keys({"front": "observation.images.top"}), "folder")


@pytest.mark.parametrize(
    ("features", "keys", "named"),
    [
        (FITTING | {"observation.state": (6,)}, Keys(), "observation.state"),
        (FITTING | {"action": (6,)}, Keys(), "action"),
        (FITTING | {"observation.environment_state": (3,)}, Keys(), "observation.environment_state"),
        (FITTING | {"observation.images.wrist": (3, 96, 128)}, Keys(), "observation.images.wrist"),
        ({k: v for k, v in FITTING.items() if not k.endswith("wrist")}, Keys(), "observation.images.wrist"),
        (FITTING, Keys({"side": "observation.images.side"}), "camera side"),
        (FITTING, Keys({"wrist": "observation.images.front"}), "observation.images.wrist"),
    ],
)
def test_what_does_not_fit_is_named(features, keys, named):
    with pytest.raises(ContractError) as caught:
        require_fit(features, CONTRACT, keys, "folder")
    assert named in str(caught.value.key) and caught.value.remedy


def test_every_difference_is_listed_at_once():
    with pytest.raises(ContractError) as caught:
        require_fit({}, replace(CONTRACT, cameras=CONTRACT.cameras[:1]), Keys(), "folder")
    assert str(caught.value.key).split("; ") == ["action", "observation.images.front", "observation.state"]


def test_a_camera_without_a_key_is_refused(tmp_path, capsys):
    from vla_agent.files.canonical_json import canonical

    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "contract.json").write_bytes(canonical(CONTRACT.to_dict()))
    assert main([str(tmp_path), "--contract", str(tmp_path), "--camera", "front"]) == 2
    assert "NAME=KEY" in capsys.readouterr().err


# --- lerobot itself ---------------------------------------------------------------------------------------------------


def lerobot_python() -> Path | None:
    named = os.environ.get("VLA_AGENT_LEROBOT_PYTHON")
    path = Path(named) if named else ROOT / ".venv-lerobot" / "bin" / "python"
    return path if path.exists() else None


TINY = {
    "act": {"pretrained_backbone_weights": "null", "dim_model": 32, "n_heads": 2, "dim_feedforward": 64}
    | {"n_encoder_layers": 1, "n_vae_encoder_layers": 1, "latent_dim": 8, "chunk_size": 16, "n_action_steps": 8},
    "diffusion": {"down_dims": "[32,64]", "diffusion_step_embed_dim": 16, "horizon": 16, "n_action_steps": 8}
    | {"num_inference_steps": 2, "noise_scheduler_type": "DDIM", "spatial_softmax_num_keypoints": 8},
}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    """Two recorded episodes of one family as a dataset with videos."""
    from sim.env import TabletopEnv
    from vla_agent.data.collect.episode_recording import Recording, record
    from vla_agent.data.lerobot.dataset_writer import write_dataset
    from vla_agent.data.lerobot.episode import encode

    env, family = TabletopEnv(), load_suite("tabletop")["press_button"]
    attempts = [record(env, family, 1_000_000 + seed, Recording()) for seed in range(3)]
    root = tmp_path_factory.mktemp("peers") / "data"
    write_dataset(root, env.contract, (encode(a.episode, "video", 20) for a in attempts if a.episode), "video")
    env.close()
    return root


@pytest.mark.skipif(
    lerobot_python() is None, reason="no lerobot: run `make lerobot-check` (see tests/lerobot_check/README.md)"
)
@pytest.mark.parametrize("kind", TINY)
def test_lerobot_policy_is_driven_as_a_peer(kind, demonstrations, tmp_path):
    """Trained by lerobot-train for two steps, served from its environment, evaluated in our simulator."""
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.gate.candidate import find_candidate

    env = {k: v for k, v in os.environ.items() if not k.startswith(("_ROS", "LD_LIBRARY", "VLA_AGENT_TOKEN"))}
    env |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    run = tmp_path / kind
    words = [str(lerobot_python()), "tests/lerobot_check/train.py", f"--policy.type={kind}", f"--output_dir={run}"]
    words += [f"--dataset.root={demonstrations}", "--dataset.repo_id=local/peer", "--dataset.video_backend=pyav"]
    words += ["--policy.device=cpu", "--policy.push_to_hub=false", "--num_workers=0", "--steps=2", "--batch_size=2"]
    words += [f"--policy.{key}={value}" for key, value in TINY[kind].items()]
    subprocess.run(words, check=True, cwd=ROOT, env=env, timeout=1800, stdout=sys.stderr)

    folder = run / "checkpoints" / "last" / "pretrained_model"
    serve = [str(lerobot_python()), "-m", "vla_agent.peers.serve", str(folder), "--contract", str(demonstrations)]
    task = tmp_path / "press_button.yaml"  # whose episodes end soon
    task.write_text(re.sub(r"time_limit: \d+", "time_limit: 12", load_suite()["press_button"].file.read_text()))
    process = subprocess.Popen([*serve, "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    try:
        assert process.stdout is not None
        line = next(text for text in process.stdout if text.startswith("serving"))
        url = line.split(" at ")[1].split(",")[0]
        for out in ("first", "again"):
            evaluate(EvaluationSettings(url, tasks=[str(task)], episodes=1, controls="none", out=tmp_path / out))
        files = find_candidate(url, policy_files=folder).parts["files"]  # what a certificate would bind
    finally:
        process.terminate()
    assert process.wait(60) == 0
    first, again = (json.loads((tmp_path / out / "report.json").read_text()) for out in ("first", "again"))
    assert {"config.json", "model.safetensors", SERVED_WITH} <= set(files) and first["hashes"]["policy"] == files
    assert first["policy"] == url and len(first["episodes"]) == 1
    assert first["episodes"][0]["state_hash"] == again["episodes"][0]["state_hash"], "the seed is the episode's"
