"""Helpers of the tests of publishing and of materialisation make the tables."""

import sys
from pathlib import Path

for name in ("tables", "materialization"):
    sys.path.insert(0, str(Path(__file__).parents[1] / name))
