"""Scores of demonstrations: each episode's loss under a policy, and from it how often a training draws the episode."""
