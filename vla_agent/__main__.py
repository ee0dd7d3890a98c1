"""``python -m vla_agent`` is ``vla-agent``."""

import sys

from vla_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
