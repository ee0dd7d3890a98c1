"""Demonstrations of the scripted experts, recorded in simulation."""
