"""Text to learn reading from: a grammar of wordings in several languages, synonyms, typing errors."""
