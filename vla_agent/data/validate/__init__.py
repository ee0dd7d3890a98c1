"""Finds the defects of a dataset, and shows its content as a page."""
