"""Cases of real robots, their drivers and their users' mistakes, each with its right outcome: for `robots-cases`."""
