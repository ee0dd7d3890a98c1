"""The gate's decision: gate file, sequential test, verdict."""
