"""Policies: the network, its folder, how it is loaded, executed and made fast."""
