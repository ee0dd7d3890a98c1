"""What the nodes do, as plain classes without ROS: observations, policy loop, simulated robot, recording."""
