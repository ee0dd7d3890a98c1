"""The robot: its robot file, kinematics, cameras, control and safety."""
