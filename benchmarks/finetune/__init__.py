"""Benchmarks of finetune."""
