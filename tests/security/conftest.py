"""Tests of security work on the small homes and stores of other tests."""

import sys
from pathlib import Path

for folder in ("events", "online", "joins", "serving"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
