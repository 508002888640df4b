"""`python -m involution` is the command line."""

import sys

from involution.cli import main

sys.exit(main())
