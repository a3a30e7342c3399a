"""The architecture page names files; each of them exists, so that a move of code moves the page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_file_of_the_architecture_page_exists():
    missing = []
    for line in PAGE.splitlines():
        folder = ""
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", line):
            # `folder/one.py`, `two.py`: a bare name lies beside the one before it
            path = name if "/" in name else f"{folder}/{name}"
            folder = path.rstrip("/") if name.endswith("/") else str(Path(path).parent)
            if not (ROOT / path).exists():
                missing.append(path)
    assert missing == []
    assert len(re.findall(r"`[\w/]+\.py`", PAGE)) > 30
