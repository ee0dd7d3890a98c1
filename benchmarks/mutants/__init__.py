"""Single changes to guards, and which of them the tests notice: `benchmarks/gate/guards_mutants.py` runs them."""
