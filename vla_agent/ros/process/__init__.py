"""Node processes: start, real-time scheduling, tables of graphs and parameters, launching."""
