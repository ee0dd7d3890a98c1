"""The success rate on the real robot, from 50 real trials and 1,000 simulated episodes of the same policy.

Nothing is simulated here: the outcomes are drawn, so that the true rate is known and can be compared.
"""

import tempfile
from pathlib import Path

import numpy as np

from vla_agent.evaluation.bridge.bridge import bridge, sentence
from vla_agent.evaluation.bridge.bridge_page import page
from vla_agent.evaluation.bridge.simulated_episodes import read_simulated

TRIALS, SIMULATED = 50, 1000
out = Path(tempfile.mkdtemp(prefix="real_rate_"))

# A simulator that is too kind (80 %), and a robot that mostly fails where the simulated episode fails, and sometimes
# where it does not.
rng = np.random.default_rng(3)
simulated = rng.random(SIMULATED) < 0.8
real = rng.random(SIMULATED) < np.where(simulated, 0.8, 0.15)
truth = 0.8 * 0.8 + 0.2 * 0.15

# All scenes were simulated; the first 50 are tried on the robot.  From a report of `vla-agent eval`, `vla-agent bridge
# --plan 50` writes the file of trials to fill in.
rows = [f"pour,scene {k},{int(outcome)}" for k, outcome in enumerate(simulated)]
(out / "simulated.csv").write_text("\n".join(["task,scene,success", *rows]) + "\n")
rows = [f"pour,scene {k},{int(real[k])}" for k in range(TRIALS)]
(out / "trials.csv").write_text("\n".join(["task,scene,success", *rows]) + "\n")

file = out / "trials.csv"
report = bridge(file, file.read_bytes(), [read_simulated(out / "simulated.csv")])
policy = report["policies"][0]
print(sentence(policy, report["level"]))
print(f"the simulator alone says {100 * policy['all']['simulated']['success']:.1f} %; the truth is {100 * truth:.1f} %")

(out / "report.html").write_text(page(report))
print(f"open {out / 'report.html'}")
