"""Add a task by writing one YAML file: check it, look at it, let the scripted expert solve it.

python examples/02_my_own_task.py
"""

import sys
import tempfile
from pathlib import Path

from vla_agent.cli import main as vla_agent

TASK = Path(__file__).with_suffix(".yaml")


def main() -> int:
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    # 1. Is the file right?  An error names the line, what was expected and the closest valid name.
    code = vla_agent(["tasks", "--check", str(TASK), "--picture", str(out / "scene.png")])
    # 2. The expert is built from the skills that the file lists.  It has to solve what a policy shall learn.
    code = code or vla_agent(
        ["eval", "expert", "--tasks", str(TASK), "--episodes", "2", "--controls", "none", "--workers", "1"]
        + ["--out", str(out / "expert")]
    )
    print(f"\none scene: {out / 'scene.png'}\nvideos: {out / 'expert/report.html'}")
    print(f"next: vla-agent collect --tasks {TASK} --episodes 50 -o datasets/mine")
    return code


if __name__ == "__main__":
    sys.exit(main())
