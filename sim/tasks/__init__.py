"""Task families as data, sampled to scenes with instructions and goals."""
