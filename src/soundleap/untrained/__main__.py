"""``python -m soundleap.untrained FAMILY FOLDER``: a model of published size, random weights."""

from __future__ import annotations

import sys

from soundleap.untrained.write import write_untrained_family

if __name__ == "__main__":
    write_untrained_family(sys.argv[2], sys.argv[1], "published")
