"""Fixtures of the tests of deliveries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_delivery import Deliver


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """For deliveries of a few rows DuckDB's threads cost a fifth of the CPU time."""
    monkeypatch.setattr("vidtopics.ingest.workspace.MAX_THREADS", 1)


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    return Deliver(tmp_path)


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    """Bytes of a small image: `image(width, height, format)`."""
    from io import BytesIO

    from PIL import Image

    def make(width: int = 8, height: int = 6, kind: str = "JPEG", mode: str = "RGB") -> bytes:
        out = BytesIO()
        Image.effect_noise((width, height), 64).convert(mode).save(out, kind)
        return out.getvalue()

    return make
