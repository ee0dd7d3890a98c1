"""Meta-World with episodes of 40 control periods, for `open-eval-rate`; runs in Meta-World's own Python."""

from __future__ import annotations

from vla_agent.environments.adapters.metaworld import MetaWorld

PERIODS = 40


class ShortMetaWorld(MetaWorld):
    """Every episode of a policy that does not succeed lasts `PERIODS`."""

    def limit(self, task: str) -> int:
        return PERIODS
