"""Datasets from datasets: episodes left out, trimmed, merged, split; the originals are never written to."""
