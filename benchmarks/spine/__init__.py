"""Benchmarks of spine."""
