"""LeRobotDataset folders: reading, writing, images, schema."""
