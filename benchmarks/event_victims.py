"""Processes that `benchmarks.event_kills` kills: senders, and commands forked from a warm process.

`python -m benchmarks.event_victims sender URL` sends the batches of its input, one JSON list a
line, and prints how many were acknowledged. `python -m benchmarks.event_victims commands` forks a
child for each line of its input, a JSON list of a command's words, and prints its pid, then reaps
whatever has ended. What a command says goes to the file that the environment names.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import typer

from vidtopics.online.events import EventClient


def send(url: str) -> None:
    """Send the batches of the input, each until it is acknowledged."""
    client = EventClient.from_url(url, patience_s=60)
    for line in sys.stdin:
        typer.echo(client.send(json.loads(line)).acknowledged)
        sys.stdout.flush()


def fork_commands() -> None:
    """Fork a child for each command of the input."""
    import deltalake  # noqa: F401  imported once, not by each child
    import duckdb  # noqa: F401

    import vidtopics.ingest.landing
    import vidtopics.materialization.live  # noqa: F401
    from vidtopics.cli.common import run

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    typer.echo("ready")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(os.environ["VICTIMS_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for number in (1, 2):
                os.dup2(log, number)
            os._exit(run(json.loads(line)))
        typer.echo(pid)
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "sender":
        send(sys.argv[2])
    else:
        fork_commands()
