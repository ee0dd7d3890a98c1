"""The training loop of a stage: optimiser, log, checkpoints."""
