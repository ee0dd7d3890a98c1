"""Exported policies: whether they act as the policy does, how fast, and what their runner needs."""
