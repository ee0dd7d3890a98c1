"""A Python of its own for each benchmark: where it is, what is in it, how it is made."""
