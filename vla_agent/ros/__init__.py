"""ROS 2: nodes, and what they run."""
