"""`vidtopics release`: let pass by name what keeps the last release from consumers."""

from __future__ import annotations

from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Because, WrittenHome, print_json


def release(
    allow: Annotated[
        list[str],
        typer.Option(
            "--allow", metavar="GATE", help="A gate that blocks it, as `vidtopics run` names it."
        ),
    ],
    because: Because,
    home: WrittenHome = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Release the last candidate or rejected release although these gates block it.

    All that block it have to be named. Who did it and why stays in `releases`. Ends with 2 if
    nothing waits or another gate blocks it, 3 if another run has the home.
    """
    from vidtopics.cli.show import as_text, out
    from vidtopics.errors import SettingsError, explain
    from vidtopics.releases.allowing import allow as let_pass
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    if not because.strip():
        raise SettingsError(
            explain("--because", expected="a reason", found="none", mend="say why they may pass")
        )
    with hold(home, "vidtopics release") as lock:
        row = let_pass(Tables(home), allow, because, run=lock.number)
    if as_json:
        print_json({"release": row.release_id, "allowed": sorted(allow), "why": because})
    else:
        text = (
            f"Release {row.release_id} is in force, by {row.by}; {', '.join(sorted(allow))} allowed"
        )
        out.print(as_text(text), soft_wrap=True)
