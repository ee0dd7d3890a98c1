"""Train a tiny policy from nothing: demonstrations, generated questions, three stages, one policy folder.

python examples/04_train.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sim.env import TabletopEnv
from vla_agent.cli import main as vla_agent
from vla_agent.policy.loading import load_policy

RECIPE = Path(__file__).with_suffix(".yaml")


def main() -> int:
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    demonstrations, questions = out / "demonstrations", out / "questions"
    code = vla_agent(["collect", "--tasks", "press_button", "--episodes", "4", "-o", str(demonstrations)])
    if code:
        return code
    # Questions about random scenes ("where is the red mug?"): what makes a small backbone read the words.
    asked = [sys.executable, "-m", "sim.questions", "--scenes", "40", "--workers", "1", "-o", str(questions)]
    subprocess.run(asked, check=True)
    settings = [f"data.demonstrations=[{demonstrations}]", f"data.questions=[{questions}]"]
    words = [word for setting in settings for word in ("--set", setting)]
    code = vla_agent(["train", str(RECIPE), "-o", str(out / "run"), *words])
    if code:
        return code
    policy = load_policy(out / "run/policy")  # weights, normalisers and contract in one folder
    env = TabletopEnv(task="press_button")
    observation, info = env.reset(seed=0)
    policy.reset(info["instruction"])
    print(f"'{info['instruction']}' -> a chunk of shape {policy.act(observation).shape}")
    env.close()
    trained = json.loads((out / "run/policy/training.json").read_text())
    print(f"parameters: {trained['parameters']['trained']:,}; loss curve: {out / 'run/policy/curve.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
