"""Files: hashing, writing whole or not at all, policy folders, recipes."""
