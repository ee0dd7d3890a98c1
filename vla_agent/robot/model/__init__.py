"""The robot's model: MJCF, URDF or xacro, read within bounds and made into one MuJoCo model."""
