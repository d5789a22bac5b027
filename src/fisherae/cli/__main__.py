"""`python -m fisherae.cli`, the same as `fisherae`."""

import sys

from fisherae.cli.main import main

sys.exit(main())
