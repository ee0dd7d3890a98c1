"""Seeded mutations of every format and protocol that is read: what ``inputs-fuzz`` runs."""
