"""Policies of LeRobot as peers.  These modules run in LeRobot's own environment; see docs/serving.md."""
