"""From simulation to the real rate: an interval from few real trials, paired with many simulated ones."""
