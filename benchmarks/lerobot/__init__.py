"""Child processes in LeRobot's environment for the benchmarks that compare with LeRobot."""
