"""Benchmarks of the ROS graph: success, latency, faults, signals, memory, packaging."""
