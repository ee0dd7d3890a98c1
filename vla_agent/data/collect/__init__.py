"""Demonstrations of scripted experts, recorded in the simulator."""
