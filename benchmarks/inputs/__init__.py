"""Bad input of every kind, for the benchmarks of input handling."""
