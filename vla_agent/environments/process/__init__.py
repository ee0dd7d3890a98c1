"""An environment in a process of its own, with another Python's packages; asked over pipes."""
