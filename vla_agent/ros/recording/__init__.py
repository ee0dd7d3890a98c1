"""Recording of demonstrations: which topics, where their types come from, and the bags with what is known of them."""
