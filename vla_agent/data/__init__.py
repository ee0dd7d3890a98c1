"""Demonstrations: LeRobotDataset v3.0 folders written and read without the lerobot package (see docs/data.md)."""
