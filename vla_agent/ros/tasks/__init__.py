"""Runs with an end and a reason: the action RunTask without ROS, and the optional package of its messages."""
