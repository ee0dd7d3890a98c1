"""The closed list of a policy's files, and the memory that holds them."""
