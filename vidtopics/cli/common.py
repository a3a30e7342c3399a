"""What all verbs share: options, JSON output, and how the command ends."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import vidtopics
from vidtopics import cli
from vidtopics.errors import BusyError, SettingsError, VidtopicsError, explain
from vidtopics.faults import (
    dangling_link,
    dangling_message,
    fault_message,
    refuse_other_encoding,
    visible,
)
from vidtopics.paths import is_url

DEFAULT_HOME = Path(".vidtopics")
PLACE = "DIR|URL"
FAILED = 2
BUSY = 3
BLOCKED = 4
UNTRUSTED = 6
INTERRUPTED = 130
MARKS = ("tables", "settings.yaml", "redis/server.json")
"""What makes a folder a home; one is enough."""


_chosen_home: ContextVar[Path | None] = ContextVar("home", default=None)
"""The home that the command works on, for a fault that names no path."""


def _any_home(home: Path, verb: str = "this") -> Path:
    """A folder that is or may become a home; SettingsError for an address or a dangling link."""
    from vidtopics.storage.mirrors import origin

    if is_url(str(home)):
        raise _in_bucket(home, verb)
    path = _home_folder(home)
    if url := origin(path):
        raise _in_bucket(Path(url), verb)
    return path


def _home_folder(home: Path) -> Path:
    """The path of a folder; SettingsError for a dangling link or another encoding."""
    from vidtopics.settings import folder

    _chosen_home.set(home)
    if message := refuse_other_encoding(str(home.absolute())):
        raise SettingsError(message)
    if link := dangling_link(home):
        raise SettingsError(dangling_message(link))
    return folder(home)


def _in_bucket(home: Path, verb: str) -> SettingsError:
    """The error of a verb that works on a folder alone."""
    from vidtopics.storage import Address

    address = Address.parse(home, "--home")
    return SettingsError(
        explain(
            f"--home {visible(str(address))}",
            expected=f"a folder, for {verb}",
            found="a bucket",
            mend=f"copy the home: vidtopics home copy {address} FOLDER",
        )
    )


def _readable_home(home: Path, verb: str = "this", *, models: bool = False) -> Path:
    """As :func:`_existing_home`; of a home in a bucket the folder that mirrors it."""
    if not is_url(str(home)):
        return _existing_home(home, verb)
    from vidtopics.storage import Address
    from vidtopics.storage.mirrors import open_mirror

    path = open_mirror(Address.parse(home, "--home"), models=models)
    _chosen_home.set(path)
    return path


def _written_home(home: Path, verb: str = "this", *, may_be_new: bool = False) -> Path:
    """As :func:`_readable_home` for a verb that writes; with `may_be_new` it may make the home."""
    from vidtopics.storage import Address
    from vidtopics.storage.mirrors import open_mirror, origin

    # A round of a service is given the mirror that the service opened.
    url = str(home) if is_url(str(home)) else origin(_home_folder(home))
    if url is None:
        return (_any_home if may_be_new else _existing_home)(home, verb)
    path = open_mirror(
        Address.parse(url, "--home"), models=True, is_written=True, may_be_new=may_be_new
    )
    _chosen_home.set(path)
    return path


def _existing_home(home: Path, verb: str = "this") -> Path:
    """A folder that is a home; SettingsError for any other: a verb that reads one makes nothing."""
    path = _any_home(home, verb)
    if any((path / mark).exists() for mark in MARKS):
        return path
    raise SettingsError(
        explain(
            f"--home {visible(str(path))}",
            expected="a home, which `vidtopics ingest` or `vidtopics demo` makes",
            found="another folder" if path.is_dir() else "nothing",
            mend="correct the path, or make one there",
        )
    )


def _verb(context: typer.Context) -> str:
    """The command as a user writes it, whatever started it."""
    names: list[str] = []
    step: Any = context
    while step.parent is not None:
        names.insert(0, str(step.info_name))
        step = step.parent
    return " ".join(["vidtopics", *names])


def _home_option(check: Any, metavar: str = "DIR") -> Any:
    def checked(context: typer.Context, home: Path | None) -> Path | None:
        return None if home is None else check(home, f"`{_verb(context)}`")

    return typer.Option(
        "--home",
        metavar=metavar,
        help="Tables, models and logs.",
        file_okay=False,
        callback=checked,
    )


ExistingHome = Annotated[Path, _home_option(_existing_home)]
"""`--home` of a verb that works on an existing home in a folder."""
NewHome = Annotated[Path, _home_option(_any_home)]
"""`--home` of a verb that may make one in a folder, and of `doctor`."""
ReadableHome = Annotated[Path, _home_option(_readable_home, PLACE)]
"""`--home` of a verb that reads tables: a folder, or a bucket."""
ServedHome = Annotated[Path, _home_option(partial(_readable_home, models=True), PLACE)]
"""`--home` of a verb that reads models too."""
WrittenHome = Annotated[Path, _home_option(_written_home, PLACE)]
"""`--home` of a verb that writes to an existing home."""
NewWrittenHome = Annotated[Path, _home_option(partial(_written_home, may_be_new=True), PLACE)]
"""`--home` of a verb that writes to a home and may make it."""
OptionalHome = Annotated[Path | None, _home_option(_existing_home)]
"""`--home` of a verb that works without one, too."""
Embedded = Annotated[
    bool,
    typer.Option(
        "--embedded",
        help="The home's own server, whatever REDIS_URL says, and wherever it was loaded before.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings (YAML); without it the defaults."),
]
Because = Annotated[
    str, typer.Option("--because", metavar="TEXT", help="Why; stays in the release log.")
]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", metavar="FILE", help="What the source calls its fields (YAML)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def computes_on_spark() -> bool:
    """Whether the environment names a Spark: its master, or spark-submit's own gateway."""
    return not os.environ.keys().isdisjoint(("SPARK_MASTER", "PYSPARK_GATEWAY_PORT"))


def print_json(value: object) -> None:
    """Prints one JSON document; times and paths as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def build() -> typer.Typer:
    """The command with a verb for each file of the folder."""
    app = typer.Typer(
        name="vidtopics",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in sorted(module.name for module in pkgutil.iter_modules(cli.__path__)):
        _add(app, name, importlib.import_module(f"{cli.__name__}.{name}"))
    return app


def run(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: done; 1: the verb's own "no" (`doctor` misses something); 2: wrong use, a
    VidtopicsError or a fault of the machine (:mod:`vidtopics.faults`), whose message goes to
    standard error; 3: another run has the home or the prefix; 4: a gate blocks the release;
    6: a check stops an experiment's verdict; 130: interrupted. A bug keeps its traceback.
    """
    _chosen_home.set(None)
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            if message := refuse_other_encoding(argument):
                raise SettingsError(message)
        status = _invoke(arguments)
        sys.stdout.flush()
    except BusyError as error:
        _report(str(error))
        return BUSY
    except VidtopicsError as error:
        _report(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        message = fault_message(error, _chosen_home.get())
        if message is None:
            raise
        _report(message)
    else:
        return status
    return FAILED


def _invoke(arguments: list[str] | None) -> int:
    try:
        build()(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _report(message: str) -> None:
    """One message on standard error, with what came from outside made visible."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    console.print("[bold red]Error[/]", end=" ")
    text = "\n".join(visible(line) for line in message.splitlines())
    console.print(text, markup=False, highlight=False)


def _add(app: typer.Typer, name: str, module: Any) -> None:
    if isinstance(getattr(module, "app", None), typer.Typer):
        app.add_typer(module.app, name=name, help=(module.__doc__ or "").partition("\n")[0])
    elif callable(verb := getattr(module, name, None)):
        app.command(name)(verb)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vidtopics {vidtopics.__version__}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Multimodal video topics in a feature store."""
