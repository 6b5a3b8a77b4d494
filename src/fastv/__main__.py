"""``python -m fastv`` is ``fastv``."""

import sys

from fastv.cli import main

if __name__ == "__main__":
    sys.exit(main())
