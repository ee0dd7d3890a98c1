"""Let a policy pass a gate, sign a certificate, verify it, and see it refused after one byte was added.

python examples/06_gate_and_verify.py
"""

import os
import sys
import tempfile
from pathlib import Path

from vla_agent.cli import main as vla_agent

POLICY = "policies/tabletop-nano"  # installed with the package, as the gate file is; or a folder of your own


def run(*words: object) -> int:
    """One command of the command line and its exit code."""
    print(f"\n$ vla-agent {' '.join(map(str, words))}", flush=True)
    return vla_agent([str(word) for word in words])


def main() -> int:
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    os.environ["VLA_AGENT_KEYS"] = str(out / "keys")  # a key for this example alone; yours live in your configuration
    code = run("keys", "create", "lab")
    # The smoke gate shows the machinery and says nothing about quality; gates/tabletop.yaml is the real one.
    # Every attempt is counted in a ledger: repeating until it passes makes the tests stricter.
    suite, ledger = "gates/smoke.yaml", out / "ledger.jsonl"
    code = code or run(
        "gate", POLICY, "--suite", suite, "--key", "lab", "--ledger", ledger, "-o", out / "gate", "--workers", 1
    )
    if code:
        return code
    certificate = out / "gate/certificate.json"
    code = run("verify", certificate, "--policy", POLICY, "--ledger", ledger)
    # The certificate binds policy, simulator, gate file and evidence by hash: one added space is found.
    report = out / "gate/report.json"
    report.write_text(report.read_text() + " ")
    refused = run("verify", certificate, "--policy", POLICY, "--ledger", ledger)
    answer = {False: "refused", True: "valid"}
    print(f"\nbefore the change: {answer[code == 0]}; after it: {answer[refused == 0]}")
    return code if refused else 1


if __name__ == "__main__":
    sys.exit(main())
