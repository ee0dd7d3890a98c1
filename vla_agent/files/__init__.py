"""Files: hashing, atomic writing, policy folders, recipes."""
