"""The page: one file that needs no network, and may load or run nothing but what it holds."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from vidtopics.explore.data import Covers, PageData
from vidtopics.explore.encode import encode

SCRIPTS = ("data", "dom", "covers", "lists", "map", "overview", "topic", "video", "search", "main")
"""One module, in this order: each uses what stands before it."""


def render(data: PageData, covers: Covers) -> str:
    """The page as HTML; the same data give the same text.

    Its Content-Security-Policy names the hashes of its own style and script, so that nothing else
    runs even if a title found a way into the markup. Videos without a cover get a placeholder.
    """
    style, script = _static("page.css"), "\n".join(_static(f"{name}.js") for name in SCRIPTS)
    sources = f"style-src {_source(style)}; script-src {_source(script)}"
    policy = f"default-src 'none'; img-src data:; {sources}"
    parts = {
        "POLICY": f"{policy}; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": encode(data, covers),
    }
    head, *rest = _static("page.html").split("{{")
    return head + "".join(
        parts[name] + text for name, text in (piece.split("}}", 1) for piece in rest)
    )


def _static(name: str) -> str:
    return (files("vidtopics.explore") / "static" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names an inline element by its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
