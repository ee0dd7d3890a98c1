"""Words from public lists for the reader's training; the words that measure are filtered out by the machine."""
