"""A signed statement of the real success rate, beside a gate's certificate, which stays as it is."""
