"""Shows episodes as one local page: images, states and actions in step, sorted, with findings and flags."""
