"""What all verbs share: options, JSON output, and how the command ends."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import vidtopics
from vidtopics import cli
from vidtopics.errors import VidtopicsError

DEFAULT_HOME = Path(".vidtopics")
FAILED = 2
INTERRUPTED = 130


def _folder(home: Path) -> Path:
    from vidtopics.settings import folder

    return folder(home)


Home = Annotated[
    Path,
    typer.Option(
        "--home", metavar="DIR", help="Tables, models and logs.", file_okay=False, callback=_folder
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings (YAML); without it the defaults."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def print_json(value: object) -> None:
    """Prints one JSON document; times and paths as text."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


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

    0: done; 1: the verb's own "no" (`doctor` found something missing); 2: wrong use or a
    VidtopicsError, whose message goes to standard error; 130: interrupted.
    """
    try:
        build()(arguments)
    except VidtopicsError as error:
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True)
        console.print("[bold red]Error[/]", end=" ")
        console.print(str(error), markup=False, highlight=False)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _add(app: typer.Typer, name: str, module: Any) -> None:
    if isinstance(getattr(module, "app", None), typer.Typer):
        app.add_typer(module.app, name=name, help=(module.__doc__ or "").partition("\n")[0])
    elif callable(verb := getattr(module, name, None)):
        app.command(name)(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"vidtopics {vidtopics.__version__}\n")
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
