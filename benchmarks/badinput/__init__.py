"""Bad input: real mistakes as cases, and the judge that says whether the program answered well.

One list drives the benchmark ``spine-badinput`` and ``tests/test_badinput.py``: `benchmarks.badinput.cases.CASES`.
"""
