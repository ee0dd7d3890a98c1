"""Several processes in one training: data-parallel, with full or sharded weights."""
