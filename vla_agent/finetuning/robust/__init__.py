"""Options against forgetting and for robustness, one method a file."""
