"""Computing again, from the evidence, every number that a certificate vouches for."""
