"""A training while it runs: its losses, and what its newest checkpoint makes of a few frames."""
