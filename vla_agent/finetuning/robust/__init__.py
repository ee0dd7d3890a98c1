"""Options against forgetting and brittleness, one method a file."""
