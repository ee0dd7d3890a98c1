"""A person moves the robot: keys, gamepad or leader arm become actions of the policy's form."""
