"""An exported policy: its runner, and how the project opens it.  Imports no torch."""
