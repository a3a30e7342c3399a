"""Tests of erasure work on a home of the tests of events."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "events"))
