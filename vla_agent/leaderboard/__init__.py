"""The tabletop as a benchmark for others: a frozen suite, its scores, result files, and an adapter for `vla-eval`."""
