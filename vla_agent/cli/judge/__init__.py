"""Commands that judge policies."""
