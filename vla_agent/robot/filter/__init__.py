"""The smallest change of a command that keeps the arm clear, before the supervisor would have to stop it."""
