"""Bad input: real mistakes as cases, and the judge that says whether the program answered well.

One list drives the benchmark ``spine-badinput`` and ``tests/cli/test_badinput.py``: `cases.CASES`.
"""
