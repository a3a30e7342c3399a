"""Tests of the command work on the home of the topic page's tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "explore"))
