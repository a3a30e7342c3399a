"""The page: a file that needs no network, and may load or run nothing but what is its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "data",
    "dom",
    "parts",
    "initials",
    "covers",
    "lists",
    "map",
    "charts",
    "overview",
    "topic",
    "video",
    "findings",
    "search",
    "main",
)
"""One module, in this order: each uses what stands before it."""
UNSAFE = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def render(index: Mapping[str, Any], parts: Iterable[tuple[str, str]]) -> str:
    """The page as HTML; the same index and parts give the same text.

    Its Content-Security-Policy names the hashes of its own style and script, so that nothing else
    runs even if a title found a way into the markup. A page whose parts lie in a folder may load
    scripts from beside it as well.

    Args:
        index: what the page holds; its `folder` is where the parts lie, or null.
        parts: names and JSON of the parts that the page holds itself.
    """
    style, script = _static("page.css"), "\n".join(_static(f"{name}.js") for name in SCRIPTS)
    beside = " 'self'" if index["folder"] else ""
    policy = f"style-src {_source(style)}; script-src {_source(script)}{beside}"
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    pieces = {
        "POLICY": f"default-src 'none'; img-src data:; {policy}; "
        "base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": script_safe(text),
        "PARTS": "".join(
            f'<script type="application/json" data-part="{name}">{script_safe(part)}</script>\n'
            for name, part in parts
        ),
    }
    head, *rest = _static("page.html").split("{{")
    return head + "".join(
        pieces[name] + text for name, text in (piece.split("}}", 1) for piece in rest)
    )


def script_safe(text: str) -> str:
    r"""JSON text that can't end the script element that holds it, nor begin a comment in it.

    >>> script_safe('["</script><!--"]')
    '["\\u003c/script\\u003e\\u003c!--"]'
    """
    return text.translate(UNSAFE)


def _static(name: str) -> str:
    return (files("vidtopics.explore") / "static" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names an inline element by its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
