"""The robot: its description file, kinematics, cameras, control and safety."""
