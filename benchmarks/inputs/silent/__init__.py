"""Wrong units, ranges, orders, clocks and bit depths in otherwise good input: what ``inputs-silent`` plants."""
