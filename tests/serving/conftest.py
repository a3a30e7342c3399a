"""Tests of the service work on a home of the ranking models' tests."""

import sys
from pathlib import Path

for folder in ("ranking", "retrieval", "topics"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
