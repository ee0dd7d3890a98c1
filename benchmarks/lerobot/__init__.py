"""Benchmarks of lerobot."""
