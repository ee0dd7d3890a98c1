"""Messages: conversions, and what a robot's controller takes."""
