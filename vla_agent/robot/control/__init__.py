"""From a policy's actions to joint targets within the robot's limits.  No ROS, no torch."""
