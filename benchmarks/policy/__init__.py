"""Benchmarks of policy."""
