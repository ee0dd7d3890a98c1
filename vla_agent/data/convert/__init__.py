"""Recordings of other programs (ROS 2 bags, HDF5, LeRobotDatasets) to a dataset with a contract."""
