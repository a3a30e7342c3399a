"""The command `vidtopics`: one file of this folder per verb.

A file `X.py` with a function `x` is the verb `x`; a file with a Typer `app` is a verb with verbs of
its own (`ingest folder`). All files are imported for `--help`, so a verb imports what it needs
inside its function.
"""

from __future__ import annotations

import os
import sys

EXTRAS = {"typer": "tables", "rich": "tables", "fastapi": "serve", "uvicorn": "serve"}
"""What brings a package; all others come with `demo`."""
OURS = {"", "vidtopics", "producers", "consumers", "spark_jobs"}


def main() -> None:
    """Runs the command; works with the base wheel alone, to say what is missing."""
    # Threads of torch that wait for each other by spinning take ten times as long where cores are
    # shared (docs/adr/0009).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from vidtopics.cli.streams import open_streams

        open_streams()
        from vidtopics.cli.common import run

        code = run()
    except ModuleNotFoundError as error:
        top_level = (error.name or "").partition(".")[0]
        if top_level in OURS:
            raise
        extra = EXTRAS.get(top_level, "demo")
        sys.stderr.write(
            f"vidtopics: the package {error.name!r} is missing."
            f' Mend: pip install "vidtopics[{extra}]"\n'
        )
        code = 2
    sys.exit(code)
