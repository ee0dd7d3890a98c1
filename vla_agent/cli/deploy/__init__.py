"""Commands that bring policies to robots and servers."""
