"""`python -m unblur`."""

import sys

from unblur.cli import main

sys.exit(main())
