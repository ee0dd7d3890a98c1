"""What users of comparable software met, with the right value of each: what ``inputs-cases`` asks."""
