"""``python -m soundleap``: the command line, as torchrun starts it."""

import sys

from soundleap.cli.main import main

sys.exit(main())
