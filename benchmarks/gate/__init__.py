"""Benchmarks of gate."""
