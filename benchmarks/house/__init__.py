"""Measurements of the project itself: documents, examples, the length of the paths through the code."""
