"""Whether an instruction can be done in the scene that the images show, and why not."""
