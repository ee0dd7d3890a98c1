"""ROS 2 nodes: thin rclpy layers over the plain classes of `ros.runtime` and `robot`.  See docs/ros2.md."""
