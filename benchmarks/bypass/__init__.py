"""Ways around the gate, planted: each must be refused."""
