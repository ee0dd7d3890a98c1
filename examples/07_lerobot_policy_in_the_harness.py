"""Train ACT with LeRobot, serve it from LeRobot's own environment, and evaluate it in this project's harness.

LeRobot needs other versions of torch and numpy, so it has an environment of its own: `make lerobot-check` makes
.venv-lerobot, or VLA_AGENT_LEROBOT_PYTHON names a Python that has it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vla_agent.cli import main as vla_agent

ROOT = Path(__file__).resolve().parents[1]
LEROBOT = Path(os.environ.get("VLA_AGENT_LEROBOT_PYTHON", ROOT / ".venv-lerobot/bin/python"))
TINY = {"pretrained_backbone_weights": "null", "chunk_size": 16, "n_action_steps": 8, "dim_model": 32, "n_heads": 2}
TINY |= {"dim_feedforward": 64, "n_encoder_layers": 1, "n_vae_encoder_layers": 1, "latent_dim": 8}


def main() -> int:
    if not LEROBOT.exists():
        print(f"LeRobot is not installed: there is no {LEROBOT}.  Run `make lerobot-check` in {ROOT} (1.5 GB).")
        return 0
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    data, run = out / "demonstrations", out / "act"
    if code := vla_agent(["collect", "--tasks", "press_button", "--episodes", "2", "--video", "-o", str(data)]):
        return code
    env = {k: v for k, v in os.environ.items() if not k.startswith(("_ROS", "LD_LIBRARY"))} | {"PYTHONPATH": str(ROOT)}
    # lerobot-train itself; a few steps of a tiny ACT show the way.  For a real one: --steps=20000 and ACT's own sizes.
    train = [LEROBOT, "tests/lerobot_check/train.py", "--policy.type=act", f"--output_dir={run}", "--steps=20"]
    train += [
        f"--dataset.root={data}",
        "--dataset.repo_id=local/mine",
        "--dataset.video_backend=pyav",
        "--batch_size=4",
    ]
    train += ["--policy.device=cpu", "--policy.push_to_hub=false", "--num_workers=0"]
    train += [f"--policy.{key}={value}" for key, value in TINY.items()]
    if code := subprocess.run([*map(str, train)], cwd=ROOT, env=env).returncode:
        return code
    # LeRobot's folder names features and shapes; units and rate are those of the dataset's contract.
    folder = run / "checkpoints/last/pretrained_model"
    serve = [str(LEROBOT), "-m", "vla_agent.peers.serve", str(folder), "--contract", str(data), "--port", "0"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    try:
        line = next((text for text in server.stdout if text.startswith("serving")), None)  # "serving ... at URL, ..."
        if line is None:  # the server's own message says why
            return 1
        url = line.split(" at ")[1].split(",")[0]
        report = str(out / "report")  # beside the scripted expert, random actions and shuffled instructions
        return vla_agent(["eval", url, "--tasks", "press_button", "--episodes", "1", "--workers", "1", "-o", report])
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
