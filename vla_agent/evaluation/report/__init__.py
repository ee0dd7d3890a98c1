"""The evaluation's report: page, videos, console."""
