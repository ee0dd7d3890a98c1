"""Plain data and open worlds: what policies of other recordings and environments do here."""
