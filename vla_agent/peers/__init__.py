"""Policies of LeRobot as peers.  What lies here runs in LeRobot's own environment; see docs/serving.md."""
