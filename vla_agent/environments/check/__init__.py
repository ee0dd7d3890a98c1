"""The checker of environments: plays a few steps, and names what is wrong and how to mend it."""
