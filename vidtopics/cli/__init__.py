"""The command `vidtopics`: one file of this folder per verb.

A file `X.py` with a function `x` is the verb `x`; a file with a Typer `app` is a verb with verbs of
its own (`ingest folder`). All files are imported for `--help`, so a verb imports what it needs
inside its function.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command; the entry point, which works (to say what is missing) with the base wheel alone."""
    # Threads of torch that wait for each other by spinning take ten times as long where cores are
    # shared (docs/adr/0009).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from vidtopics.cli.common import run

        code = run()
    except ModuleNotFoundError as error:
        top_level = (error.name or "").partition(".")[0]
        if top_level in {"", "vidtopics", "producers", "consumers", "spark_jobs"}:
            raise
        extra = "tables" if top_level in {"typer", "rich"} else "demo"
        sys.stderr.write(
            f'vidtopics: the package {error.name!r} is missing. Mend: pip install "vidtopics[{extra}]"\n'
        )
        code = 2
    sys.exit(code)
