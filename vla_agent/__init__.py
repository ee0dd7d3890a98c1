"""VLA Agent: from demonstrations to hardware through a simulation gate.  Importing it imports nothing heavy."""

__version__ = "0.1.0"
