"""Node processes: start, priorities, the table of graphs, launching."""
