"""``python -m sim.questions``: generate vision-language data."""

import sys

from sim.questions.generate import main

if __name__ == "__main__":
    sys.exit(main())
