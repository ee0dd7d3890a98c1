"""Playing episodes: one process, several, or a Ray cluster."""
