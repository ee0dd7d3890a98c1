"""What the window can show: the simulator, a ROS 2 graph, a recorded episode, a training."""
