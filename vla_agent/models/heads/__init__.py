"""Action heads: features and state to an action chunk."""
