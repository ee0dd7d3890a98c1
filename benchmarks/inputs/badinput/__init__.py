"""Bad input: real mistakes as cases, and the judge of the program's answers.

One list drives the benchmark ``spine-badinput`` and ``tests/cli/test_badinput.py``: `cases.CASES`.
"""
