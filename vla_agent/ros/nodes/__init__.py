"""ROS 2 nodes: thin rclpy shells around the plain classes of `runtime`, `control` and `safety`.  See docs/ros2.md."""
