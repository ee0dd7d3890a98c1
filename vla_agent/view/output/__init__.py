"""What a source shows, written to a file in place of a page."""
