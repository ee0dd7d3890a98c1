"""The robot file's part ``safety``: the filter before the stop, see `vla_agent.robot.filter.barrier_filter`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat


class FilterSettings(BaseModel):
    """Distances that the filter keeps, and how early it begins.

    Attributes:
        enabled: false: commands go to the supervisor as they are.
        margin: metres between a guarded body and what it may not touch; the look-ahead stops the arm at 0.01.
        finger_margin: metres between the bodies beyond the guarded ones (the fingers) and the same things; None: the
            fingers may touch them, as they may for the look-ahead.
        workspace_margin: metres between the end effector and the walls of its workspace.  Where an arm turns back
            sharply its joints move one another, by some millimetres more than their lag says.
        joint_margin: rad between a joint and the ends of its range.
        gain: 1/s.  The arm comes nearer to any of them by at most this fraction of what is left, a second.  Where it is
            small or `finger_margin` large, fingers that go down to grasp from a table are slowed, and end too high.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: bool = True
    margin: float = Field(default=0.02, gt=0.01, le=0.2)
    finger_margin: float | None = Field(default=0.003, ge=0, le=0.2)
    workspace_margin: NonNegativeFloat = 0.005
    joint_margin: NonNegativeFloat = 0.01
    gain: PositiveFloat = 20.0


class SafetySettings(BaseModel):
    """What may be set about safety."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    filter: FilterSettings = Field(default_factory=FilterSettings)
