"""The nodes' insides as plain classes, without ROS: observations, the policy's loop, the simulated robot, recording."""
