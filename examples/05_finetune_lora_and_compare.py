"""Fine-tune the shipped policy with LoRA on a task that it has not seen, and ask whether it became better.

python examples/05_finetune_lora_and_compare.py
"""

import sys
import tempfile
from pathlib import Path

from vla_agent.cli import main as vla_agent

BASE = "policies/tabletop-nano"  # installed with the package; or a folder of your own
EPISODES, DEMONSTRATIONS, SAMPLES = 2, 2, 160  # docs/finetuning.md uses 50 episodes, 50 demonstrations, 10,000 samples


def run(*words: object) -> None:
    """One command of the command line; the example ends where it fails."""
    print(f"\n$ vla-agent {' '.join(map(str, words))}", flush=True)
    if code := vla_agent([str(word) for word in words]):
        sys.exit(code)


def main() -> None:
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    run("collect", "--suite", "new", "--tasks", "lift", "--episodes", DEMONSTRATIONS, "-o", out / "lift")
    # LoRA: 4.9 % of the parameters are trained; the adapter names its base by hash and is merged into a policy folder.
    run("finetune", BASE, "--data", out / "lift", "-o", out / "run", "--set", f"train.samples={SAMPLES}")
    for name, policy in (("base", BASE), ("tuned", out / "run/policy")):
        scenes = ["--suite", "new", "--tasks", "lift", "--episodes", EPISODES, "--seed", 7000]  # the same for both
        run("eval", policy, *scenes, "--controls", "none", "--workers", 1, "-o", out / name)
    # Paired by seed, with McNemar's exact test.  With two episodes nothing can be shown; it says how many would do.
    run("compare", out / "tuned", out / "base")
    print(f"\nthe adapter: {out / 'run/adapter'}; the merged policy: {out / 'run/policy'}")


if __name__ == "__main__":
    main()
