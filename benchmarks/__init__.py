"""Measurements behind the numbers that the documents quote.

One module per measurement, ``benchmarks/spine/spine_eval_rate.py`` for ``spine-eval-rate``, with module-level

- ``NAME``, ``TITLE``, ``TARGET`` (number), ``UNIT``, ``BETTER`` (``"higher"`` or ``"lower"``), and
- ``run() -> dict`` with ``value, n, interval, seeds`` and, where useful, ``rows`` (a table), ``notes`` and ``passed``
  (where passing means more than ``value`` reaching ``TARGET``).

``python -m benchmarks run NAME`` measures, and writes ``benchmarks/results/NAME.json`` and ``docs/benchmarks.md``;
``python -m benchmarks list`` shows every benchmark, its last result, and what falls short.  Modules import heavy
packages inside `run` only.
"""
