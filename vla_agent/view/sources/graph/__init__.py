"""A running ROS 2 graph: what it says, and what it can be asked."""
