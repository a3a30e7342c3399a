"""The page at `/`: markup, style and scripts in one answer, which may load nothing from elsewhere.

Style and the building of elements are those of the topic page (`vidtopics/explore/static`).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SHARED = ("page.css", "dom.js", "initials.js")
"""Of the topic page."""
SCRIPTS = ("service", "covers", "person", "recommended", "live", "main")
"""One module, in this order, behind the shared ones."""


@dataclass(frozen=True)
class Page:
    """The page's bytes and headers."""

    body: bytes
    headers: dict[str, str]


@cache
def page() -> Page:
    """The page; its policy names the hashes of its own style and script, so that nothing else runs.

    >>> page().headers["content-security-policy"].partition("; ")[0]
    "default-src 'none'"
    """
    style, *shared = (_text("vidtopics", f"explore/static/{name}") for name in SHARED)
    style += _own("live.css")
    script = "\n".join([*shared, *(_own(f"{name}.js") for name in SCRIPTS)])
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "blob: data:",
        "style-src": _source(style),
        "script-src": _source(script),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    text = _own("live.html").replace("{{STYLE}}", style).replace("{{SCRIPT}}", script)
    headers = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Page(text.encode(), headers)


def _own(name: str) -> str:
    return _text("consumers", f"serving/static/{name}")


def _text(package: str, name: str) -> str:
    """A file below a package that is imported already: those of its parts may be heavy."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names an inline element by its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
