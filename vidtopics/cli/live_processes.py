"""The processes that a live day takes: `events apply` and `serve`, as anybody starts them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from vidtopics.cli.event_service import STARTED

if TYPE_CHECKING:
    from vidtopics.simulation.service_calls import ServiceCalls

READY_S, END_S = 180.0, 60.0
"""That the service may take to load its model, and processes to end: the last events land."""
Process = tuple[subprocess.Popen[bytes], Path]
"""A process and the file of its lines."""


@dataclass(frozen=True)
class Running:
    """The service that runs, and the processes that it takes."""

    calls: ServiceCalls
    processes: Mapping[str, Process]

    def check(self) -> None:
        """MachineError where a process has ended."""
        for name, (process, log) in self.processes.items():
            if process.poll() is not None:
                raise _ended(name, log)


@contextmanager
def running(
    home: Path, logs: Path, port: int, *, embedded: bool, ended: Event
) -> Iterator[Running]:
    """`events apply` and `serve` over a home, ready; both have ended after the block.

    Args:
        home: its folder.
        logs: a folder for what they print.
        port: of the service; 0: any that is free.
        embedded: the home's own server, whatever REDIS_URL says.
        ended: ends the waiting.

    Raises:
        MachineError: one of them ends, or the service doesn't become ready.
    """
    from vidtopics.cli import show
    from vidtopics.simulation.service_calls import ServiceCalls

    logs.mkdir(exist_ok=True)
    common = ["--home", str(home), *(["--embedded"] if embedded else [])]
    commands = {
        "events apply": ["events", "apply", *common],
        "serve": ["serve", "--port", str(port), *common],
    }
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_process(arguments, logs))
            for name, arguments in commands.items()
        }
        with show.working("Starting `events apply` and `serve`"):
            _wait_for_line(processes, "events apply", STARTED.__eq__, ended)
            started = _wait_for_line(processes, "serve", _is_start, ended)
            url = f"http://127.0.0.1:{json.loads(started)['port']}"
            service = Running(ServiceCalls(url), processes)
            _wait_until_ready(service, ended)
        yield service


@contextmanager
def _process(arguments: Sequence[str], folder: Path) -> Iterator[Process]:
    """A command of ours; its lines go to a file. It has a session of its own: Ctrl-C is ours."""
    log = folder / f"{'-'.join(a for a in arguments[:2] if a.isalpha())}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "vidtopics", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        _end(process, log)


def _end(process: subprocess.Popen[bytes], log: Path) -> None:
    from vidtopics.cli.stores import print_warning

    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        print_warning(f"A process didn't end within {END_S:.0f} s and was killed; see {log}.")


def _wait_for_line(
    processes: Mapping[str, Process], name: str, is_it: Callable[[str], bool], ended: Event
) -> str:
    """The first line of a process that is it."""
    until = time.monotonic() + READY_S
    process, log = processes[name]
    while time.monotonic() < until and not ended.is_set():
        for line in log.read_text(encoding="utf-8").splitlines():
            if is_it(line):
                return line
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise _ended(name, log)


def _is_start(line: str) -> bool:
    """Whether a line of the service says on which port it is."""
    return line.startswith("{") and json.loads(line)["event"] == "started"


def _wait_until_ready(service: Running, ended: Event) -> None:
    until = time.monotonic() + READY_S
    while (reasons := service.calls.not_ready()) and not ended.is_set():
        service.check()
        if time.monotonic() > until:
            raise _failed("serve", f"none; {'; '.join(reasons)}", "mend what it says")
        time.sleep(0.2)


def _ended(name: str, log: Path) -> Exception:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = f"it ended: {lines[-1]}" if lines else "it ended without a word"
    return _failed(f"vidtopics {name}", found, f"read {log}")


def _failed(where: str, found: str, mend: str) -> Exception:
    from vidtopics.errors import MachineError, explain

    return MachineError(explain(where, expected="a process that runs", found=found, mend=mend))
