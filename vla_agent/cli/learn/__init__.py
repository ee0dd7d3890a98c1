"""Commands that make data and policies."""
