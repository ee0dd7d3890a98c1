"""Adapters of public benchmarks, each a file to copy: Meta-World, LIBERO, PushT."""
