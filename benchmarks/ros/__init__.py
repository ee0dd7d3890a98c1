"""Benchmarks of ros."""
