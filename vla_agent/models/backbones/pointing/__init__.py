"""The small backbone that ships with the project: it points at what the instruction names."""
