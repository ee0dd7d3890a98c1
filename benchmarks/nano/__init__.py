"""What the shipped policy understands: free wordings, other languages, questions, and when it says no."""
