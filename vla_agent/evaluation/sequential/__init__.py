"""Two policies compared pair by pair, with one error rate over all looks."""
