"""Makes the environment known to Gymnasium; also named in the package's entry points, so that no import of ``sim`` is needed."""

ENVIRONMENT = "vla_agent/Tabletop-v0"


def register() -> None:
    """Register :data:`ENVIRONMENT` once."""
    from gymnasium.envs.registration import register as gymnasium_register
    from gymnasium.envs.registration import registry

    if ENVIRONMENT not in registry:
        gymnasium_register(id=ENVIRONMENT, entry_point="sim.env:TabletopEnv")
