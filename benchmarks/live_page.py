"""A picture of the page of a running service, after a click.

`python -m benchmarks.live_page URL OUT.png [--user USER] [--width 1280]`, URL being a service that
serves the page (`vidtopics demo --live`). The click is a real event of that user.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image

COLOURS = 128
WAIT_MS = 120_000
SETTLED_MS = 5_000
"""Two looks at the queue, so that what moves has moved."""


def picture(url: str, user: str, width: int) -> bytes:
    """A PNG of the page's first screens, once the first recommended video has been clicked."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        context = browser.new_context(viewport={"width": width, "height": 900})
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{url.rstrip('/')}/#{quote(user)}")
        first = page.locator(".recommended > li").first
        first.wait_for()
        page.locator(".queue > li").first.wait_for()
        video = first.get_attribute("data-video")
        first.locator("button.watch").click()
        page.locator(f".history > li:first-child[data-video={video}]").wait_for()
        page.wait_for_timeout(SETTLED_MS)
        page.evaluate("scrollTo(0, 0)")
        file = page.screenshot()
        browser.close()
    return file


def small(png: bytes) -> bytes:
    """The same picture with few colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--user", default="u0000047")
    parser.add_argument("--width", type=int, default=1_280)
    chosen = parser.parse_args(arguments)
    chosen.out.write_bytes(small(picture(chosen.url, chosen.user, chosen.width)))


if __name__ == "__main__":
    main()
