"""Benchmarks of the core: simulator, experts, the shipped policy and its evaluation."""
