"""Perturbations and counterfactuals of an episode."""
