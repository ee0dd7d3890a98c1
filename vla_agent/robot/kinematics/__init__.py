"""Forward and inverse kinematics, for the simulator and for robots."""
