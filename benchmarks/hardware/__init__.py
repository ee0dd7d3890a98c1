"""What reaches hardware: nothing without a valid certificate, and nothing that pulls a stopped arm back."""
