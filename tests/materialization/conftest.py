"""An empty home to write tables into."""

from __future__ import annotations

from pathlib import Path

import pytest
from online_home import OnlineHome


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    return OnlineHome(tmp_path)
