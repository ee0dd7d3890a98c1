"""Bombs of every format and protocol that is read: what `gate-bounds` plants."""
