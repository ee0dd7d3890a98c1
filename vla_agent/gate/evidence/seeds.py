"""The seeds of an attempt: unknown before its start is logged, and the same for everybody who checks.

An attempt's first seed is 2^32 + the first 32 bits of SHA-256 over the policy's digest, the gate file's hash and the
hash of the start's line in the ledger, which holds a random run id.  Demonstrations (1,000,000 and up), images
(2,000,000 and up), evaluations (0 and up) and held-out seeds (7,000,000 and up) are all below 2^32.
"""

from __future__ import annotations

from vla_agent.files.canonical_json import digest

FIRST = 2**32


def first_seed(policy: str, gate: str, entry: str) -> int:
    """The first seed of an attempt, from 2^32 to 2^33 - 1.

    Args:
        policy: digest of the policy.
        gate: SHA-256 of the gate file.
        entry: hash of the start's line in the ledger.
    """
    return FIRST + int(digest({"policy": policy, "gate": gate, "entry": entry})[:8], 16)
