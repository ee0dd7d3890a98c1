"""A policy as a folder of graphs that needs no torch: ``making`` writes one, ``exported`` runs it."""
