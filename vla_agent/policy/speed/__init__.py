"""Where an inference's time goes, and what makes it shorter: profile, compilation, 8-bit weights."""
