"""Evaluation: paired episodes for the policy and its controls, `report.json`, `report.html`, replay."""
