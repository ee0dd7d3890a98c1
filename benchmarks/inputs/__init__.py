"""Invalid inputs for the benchmarks of error handling: datasets with defects, and wrong input of every kind."""
