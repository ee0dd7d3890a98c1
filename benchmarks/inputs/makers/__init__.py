"""Makers of recordings and datasets as other programs write them, shared by the benchmarks ``inputs-*``."""
