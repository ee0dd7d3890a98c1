"""Benchmarks of the window: user actions in a browser, latency, memory, what it costs a graph."""
