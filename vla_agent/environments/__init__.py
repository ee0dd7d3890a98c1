"""Environments: the tabletop, public benchmarks and your own, behind one small protocol (`protocol.py`)."""
