"""Checks between every command and the robot: limits, look-ahead, the supervisor.  No ROS, no torch."""
