"""Backbones: images and an instruction to features."""
