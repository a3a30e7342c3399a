"""Helpers of the tests of the topic page lie beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
