"""Recorded episodes, of whatever kind: any of their frames, in any order."""
