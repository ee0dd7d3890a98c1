"""Robots as they are: what real drivers publish and take, and the filter before the stop."""
