"""The five bad days, on a small home: each command's own check, and what it shows of them."""

from __future__ import annotations

import sys

import pytest
from test_serve_command import home  # noqa: F401

from benchmarks import bad_days

NEEDED = {
    "poison": ['outcome="malformed"', 'outcome="failed",part="user"', '/ready: 200 {"ready": true'],
    "flood": ["all are counted", "/ready: 200"],
    "hot": ["beside hot: each video's count has all of them", "/ready: 200"],
    "full": [
        "found 0 acknowledged (OutOfMemoryError",
        "POST /events: 503, Retry-After 1",
        "POST /features: 200",
        "POST /recommend: 200",
        "all that was acknowledged has landed",
        '/ready: 503 {"ready": false, "reasons": ["applying failed: command not allowed',
        "acknowledged events count once",
    ],
    "behind": [
        "vidtopics_serving_event_lag_seconds 36",
        "'events']",
        'serve, /ready: 200 {"ready":true',
        '/ready: 200 {"ready": true',
    ],
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("day", NEEDED)
def test_a_bad_day_is_told_and_loses_nothing(
    home,  # noqa: F811
    monkeypatch,
    capsys,
    day,
):
    monkeypatch.setattr(sys, "argv", ["bad_days", "--home", str(home), "--events", "4000", day])
    bad_days.main()
    text = capsys.readouterr().out
    for words in NEEDED[day]:
        assert words in text, text
