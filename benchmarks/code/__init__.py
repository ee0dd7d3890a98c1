"""Code, links and odd names planted in every kind of folder that is read; nothing may run, nothing outside be read."""
