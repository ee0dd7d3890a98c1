"""Backbone (images and text to features), head (features and state to an action chunk), normaliser."""
