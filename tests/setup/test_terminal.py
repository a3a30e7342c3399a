"""What comes from outside is printed as it is: no markup is read, no escape sequence sent."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from vidtopics.cli import common, doctor, features, recommendations, reconcile, show
from vidtopics.doctor import Finding
from vidtopics.errors import TableError

HOSTILE = "[red]a[/] [/] [link=http://x]\x1b[2J\x07\u202e"
SHOWN = r"[red]a[/] [/] [link=http://x]\x1b[2J\x07\u202e"


def recommended():
    video = {"rank": 1, "video_id": HOSTILE, "title": HOSTILE, "score": 0.5, "reason": HOSTILE}
    recommendations.show(
        {
            "user_id": HOSTILE,
            "videos": [video],
            "clicks": 1,
            "candidates": 1,
            "popular": HOSTILE,
            "left_out": {"videos": {HOSTILE: 2}},
            "live": None,
        }
    )


def featured():
    row = {"video_id": HOSTILE, "view": HOSTILE, "status": "present"}
    features._show([row | {"features": {HOSTILE: [HOSTILE]}}])


def delivered(name, warnings, **values):
    names = ("rows", "accepted", "already_there", "left_out", "refused_rows")
    counts = dict.fromkeys(names, 60)
    file = SimpleNamespace(
        **{"name": name, "refused": {}, "dialect": "", "warnings": warnings, **counts, **values}
    )
    return SimpleNamespace(files=[file], publications=[], already_there={}, erased=0)


def ingested():
    tally = SimpleNamespace(count=1, examples=[HOSTILE])
    warnings = {"missing_cover": tally}
    show.ingested(delivered(HOSTILE, warnings, refused={HOSTILE: tally}, dialect=HOSTILE))


def moved():
    names = ("read", "written", "older", "not_due", "seconds")
    counts = dict.fromkeys(names, 0) | {"up_to_date": False, "taken_out": False, "error": ""}
    show.moved([SimpleNamespace(name=HOSTILE, release=1, **counts)])


def reconciled():
    names = ("version", "live", "ended", "keys", "compared", "newer")
    view = SimpleNamespace(
        name="v", faults={"differs": 1}, examples={"differs": [HOSTILE]}, **dict.fromkeys(names, 0)
    )
    reconcile._show([view])


def working():
    with show.working(HOSTILE):
        pass


def examined():
    doctor._show([Finding("home", "ok", HOSTILE, HOSTILE)])


PRINTERS = {f.__name__: f for f in (recommended, featured, ingested, moved, reconciled, working)}


@pytest.mark.parametrize("name", [*PRINTERS, "examined"])
def test_hostile_text_is_shown_as_it_is(name, capsys, monkeypatch):
    wide = {"width": 1_000, "force_terminal": False}
    monkeypatch.setattr(show, "out", Console(**wide))
    monkeypatch.setattr(show, "console", Console(stderr=True, **wide))
    monkeypatch.setenv("COLUMNS", "1000")
    (PRINTERS | {"examined": examined})[name]()
    printed = "".join(capsys.readouterr())
    assert SHOWN in printed
    assert not set(printed) & set("\x1b\x07\u202e")


def test_a_spinner_takes_no_markup(monkeypatch):
    """On a terminal, where the latest step stands behind the title."""
    console = Console(force_terminal=True, width=200, file=(file := io.StringIO()))
    monkeypatch.setattr(show, "console", console)
    with show.working("Ingesting [/] x") as progress:
        progress("[red]file[/]")
    assert "Ingesting [/] x" in file.getvalue()


def test_a_message_of_an_error_is_shown_as_it_is(capsys, monkeypatch):
    def fail(arguments):
        raise TableError(f"{HOSTILE}: gone")

    monkeypatch.setattr(common, "_invoke", fail)
    assert common.run([]) == 2
    assert capsys.readouterr().err == f"Error {SHOWN}: gone\n"


@pytest.mark.parametrize("word", ["[red]x[/]", "[/]", "[link=x]"])
def test_wrong_use_is_shown_as_it_is(word, capsys):
    assert common.run([word]) == 2
    assert word in capsys.readouterr().err


def test_times_and_counts_stay_whole_at_80_columns(capsys, monkeypatch):
    monkeypatch.setattr(show, "out", Console(width=80, force_terminal=False))
    row = {"video_id": "v0000001", "view": "video_statistics", "status": "present", "age_s": 1e7}
    values = {"topic_weights": [0.125] * 8}
    features._show([row | {"event_timestamp": "2026-01-07T23:59:59.5Z", "features": values}])
    warnings = {name: SimpleNamespace(count=60) for name in ("respelt_cover", "empty_title")}
    show.ingested(delivered("videos.csv", warnings))
    printed = capsys.readouterr().out
    for text in ("2026-01-07T23:59:59 ", "115.7 d", "respelt_cover 60", "empty_title 60"):
        assert text in printed
