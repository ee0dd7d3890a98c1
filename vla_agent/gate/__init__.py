"""The gate: evidence from simulation, a verdict with stated error rates, a signed certificate, and its enforcement."""
