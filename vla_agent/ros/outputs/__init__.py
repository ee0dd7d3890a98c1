"""The only way out of these nodes to a robot: messages, trajectories, goals.  The safety node alone has one."""
