"""The contract between a policy and everything that drives it: start with `vla_agent.contract.contract`."""

from vla_agent.contract.contract import Contract
from vla_agent.contract.differences import Difference
from vla_agent.contract.layout import Camera, Field

__all__ = ["Camera", "Contract", "Difference", "Field"]
