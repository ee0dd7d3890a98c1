"""The gate's evidence: what is played, measured and logged."""
