"""Adapters: attaching, merging, and the adapter's folder."""
