import subprocess
import sys
import typing

import pytest
import typer
from typer.models import OptionInfo

from vidtopics import cli
from vidtopics.cli import common, reports

VERB = """
import typer
from vidtopics.cli.common import NewHome, DEFAULT_HOME
from vidtopics.errors import TableError

def {name}(count: int, home: NewHome = DEFAULT_HOME):
    '''Counts.'''
    {body}
"""


@pytest.fixture
def verb(tmp_path, monkeypatch):
    """Adds a verb: one file in one of the folders of vidtopics.cli."""
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])

    def add(name: str, body: str) -> None:
        (tmp_path / f"{name}.py").write_text(VERB.format(name=name, body=body))

    yield add
    for name in [
        n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))
    ]:
        del sys.modules[name]


def test_one_file_is_a_verb(verb, capsys):
    verb("tally", "print(count + 1, home)")
    assert common.run(["tally", "41", "--home", "/tmp/there"]) == 0
    assert capsys.readouterr().out == "42 /tmp/there\n"


def test_a_file_with_an_app_is_a_verb_with_verbs(tmp_path, verb, capsys):
    (tmp_path / "fill.py").write_text(
        '"""Fills tables."""\nimport typer\napp = typer.Typer()\n'
        "@app.command()\ndef folder(): print('folder')\n"
        "@app.command()\ndef movielens(): print('movielens')\n"
    )
    assert common.run(["fill", "movielens"]) == 0
    assert capsys.readouterr().out == "movielens\n"
    assert common.run(["--help"]) == 0
    assert "Fills tables." in capsys.readouterr().out


def test_a_home_that_is_an_address_is_refused_before_anything_is_made_there(
    verb, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    verb("tally", "home.mkdir(parents=True)")
    assert common.run(["tally", "1", "--home", "s3://bucket/home"]) == 2
    error = capsys.readouterr().err
    assert "--home s3://bucket/home: expected a folder, for `vidtopics tally`, found a" in error
    assert "Mend: copy the home: vidtopics home copy s3://bucket/home FOLDER." in error
    assert not (tmp_path / "s3:").exists()
    assert common.run(["tally", "1", "--home", "a:b/s3:"]) == 0


def test_an_error_of_ours_is_its_message_and_status_2(verb, capsys):
    verb("tally", "raise TableError('table [video_topics]: gone. Mend: run it')")
    assert common.run(["tally", "1"]) == 2
    assert capsys.readouterr().err == "Error table [video_topics]: gone. Mend: run it\n"


def test_any_other_error_keeps_its_traceback(verb):
    verb("tally", "raise RuntimeError('a bug')")
    with pytest.raises(RuntimeError, match="a bug"):
        common.run(["tally", "1"])


def test_an_interrupt_is_status_130(verb):
    verb("tally", "raise KeyboardInterrupt")
    assert common.run(["tally", "1"]) == 130


def test_a_verbs_own_status_and_wrong_use(verb, capsys):
    verb("tally", "raise typer.Exit(count)")
    assert common.run(["tally", "1"]) == 1
    assert common.run(["tally", "one"]) == 2
    assert common.run(["tallly", "1"]) == 2
    assert "Did you mean 'tally'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "extra"),
    [("typer", "tables"), ("rich.console", "tables"), ("torch", "demo"), ("timm", "demo")],
)
def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch, capsys, package, extra):
    def run():
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(common, "run", run)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    with pytest.raises(SystemExit):
        cli.main()
    assert f'pip install "vidtopics[{extra}]"' in capsys.readouterr().out


def test_a_missing_module_of_our_own_is_a_bug_not_a_missing_package(monkeypatch):
    def run():
        raise ModuleNotFoundError("No module named 'vidtopics.nowhere'", name="vidtopics.nowhere")

    monkeypatch.setattr(common, "run", run)
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_version(capsys):
    assert common.run(["--version"]) == 0
    assert capsys.readouterr().out == "vidtopics 0.1.0\n"


HEAVY = (
    "{'torch', 'pyspark', 'feast', 'timm', 'transformers', 'pandas', 'pyarrow', 'duckdb', "
    "'deltalake', 'numba'}"
)


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--json"]])
def test_help_and_doctor_import_few_modules_and_nothing_heavy(arguments, tmp_path):
    """704 and 597 modules where this was written; pandas alone would add 400."""
    code = (
        f"import sys; from vidtopics.cli.common import run; run({arguments!r}); "
        f"print(len(sys.modules), {HEAVY} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    count, heavy = done.stdout.splitlines()[-1].split(maxsplit=1)
    assert heavy == "set()"
    assert int(count) < 850


def commands(group: typer.Typer, path: tuple[str, ...] = ()):
    """Every command of an app, with the options that it takes."""
    for command in group.registered_commands:
        name = command.name or command.callback.__name__
        hints = typing.get_type_hints(command.callback, include_extras=True)
        flags = {
            flag
            for h in hints.values()
            for o in getattr(h, "__metadata__", ())
            for flag in option_flags(o)
        }
        yield (*path, name), flags
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, (*path, inner.name))


def option_flags(option: object) -> set[str]:
    return (
        {option.default, *(option.param_decls or ())} if isinstance(option, OptionInfo) else set()
    )


def test_every_verb_takes_home_and_config():
    flags_of = dict(commands(common.build()))
    assert {("doctor",), ("demo",), ("run",), ("ingest", "folder")} <= set(flags_of)
    without = {
        ("redis", "start"),
        ("redis", "stop"),
        ("bench",),
        ("home", "copy"),  # names its homes
        ("join",),
        ("models",),
        ("release",),
        ("releases",),
        # an experiment is declared in its own folder, and needs no home
        ("power",),
        ("evaluate", "ab"),
        ("evaluate", "off_policy"),
        ("simulate", "world"),  # written for others
    }  # nothing of theirs is a setting
    assert {
        name: flags
        for name, flags in flags_of.items()
        if not {"--home", "--config"} <= flags and name not in without
    } == {}


@pytest.mark.parametrize(("topics", "advised"), [(0, True), (4, False)])
def test_a_ranking_model_without_topics_says_how_to_get_them(topics, advised, capsys):
    counts = {"rows": 800, "clicked": 200, "users": 40, "videos": 60, "epochs": 1, "auc": 0.5}
    facts = {"model": "dcn", "topics": topics, "release": 1, "seconds": 2.0, "skipped": False}
    facts |= {"known": "as known", "because": "", "without_topics": "run it" if advised else ""}
    reports.trained(counts | facts)
    assert ("No impression had a topic: run it." in capsys.readouterr().out) is advised
