"""Which limits a figure is held to, and what a mistake in the settings is told."""

from __future__ import annotations

from typing import Any

import pytest

from vidtopics.errors import SettingsError
from vidtopics.gates.verdicts import Figure, grade
from vidtopics.settings import GateSettings, Limits, Settings, digest, parse


def limits(**tree: Any) -> GateSettings:
    return parse({"gates": tree}, where="my.yaml").gates


def message(**tree: Any) -> str:
    with pytest.raises(SettingsError) as error:
        limits(**tree)
    return str(error.value)


def test_the_columns_limits_come_before_the_tables_and_those_before_the_figures() -> None:
    settings = limits(
        psi={"warn": 1, "block": 2},
        tables={
            "video_statistics.psi": {"warn": 3, "block": 4},
            "video_statistics.video_clicks.psi": {"warn": 5, "block": None},
        },
    )
    assert settings.of("video_statistics.video_clicks.psi") == Limits(warn=5, block=None)
    assert settings.of("video_statistics.other.psi") == Limits(warn=3, block=4)
    assert settings.of("video_topics.topic_ids.psi") == Limits(warn=1, block=2)


def test_limits_that_a_table_has_from_us_are_replaced_one_by_one() -> None:
    settings = limits(tables={"topics.rows": {"warn": 50, "block": 10}})
    assert settings.of("topics.rows").block == 10
    assert settings.of("video_topics.rows").block == 1


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.1, "ok"), (0.1001, "warn"), (0.3, "warn"), (0.3001, "block")],
)
def test_a_limit_is_the_last_value_that_passes(value: float, verdict: str) -> None:
    assert grade(Figure("video_topics.ended_share", value, 100), GateSettings()).verdict == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.9, "ok"), (0.89, "warn"), (0.5, "warn"), (0.49, "block")]
)
def test_a_least_value_too(value: float, verdict: str) -> None:
    assert grade(Figure("video_topics.occupancy", value, 100), GateSettings()).verdict == verdict


def test_null_is_off() -> None:
    settings = limits(ended_share={"warn": None, "block": None})
    assert grade(Figure("video_topics.ended_share", 1.0, 100), settings).verdict == "ok"


def test_a_share_of_few_keys_is_no_evidence_but_one_bad_vector_is() -> None:
    few = grade(Figure("video_topics.ended_share", 1.0, 19), GateSettings())
    assert few.text == "not applied: 19 keys, fewer than 20"
    assert grade(Figure("topics.centroid.not_finite_share", 0.1), GateSettings()).verdict == "block"


def test_the_last_five_values_go_with_a_verdict() -> None:
    verdict = grade(Figure("topics.gini", 0.5, 100), GateSettings(), [1, 2, 3, 4, 5, 6])
    assert verdict.history == (2, 3, 4, 5, 6)


def test_mistakes_are_named_with_what_is_near() -> None:
    assert "did you mean 'ended_share'?" in message(endedshare={"warn": 1, "block": 1})
    assert "did you mean 'warn'?" in message(
        tables={"topics.rows": {"wran": 1, "warn": 1, "block": 1}}
    )
    assert "gates.ended_share.block: expected Field required" in message(ended_share={"warn": 1})
    assert "as topics.rows; not topics.rosw" in message(
        tables={"topics.rosw": {"warn": 1, "block": 1}}
    )
    for name in ("topics.no_such_column.psi", "rows", "topics.a.b.psi", "no_table.rows"):
        assert f"not {name}" in message(tables={name: {"warn": None, "block": None}})


def test_a_warn_limit_that_comes_after_the_block_limit_is_refused() -> None:
    crossed = "a warn limit that is reached first"
    assert crossed in message(ended_share={"warn": 0.5, "block": 0.1})
    assert crossed in message(occupancy={"warn": 0.1, "block": 0.5})
    assert crossed in message(tables={"topics.gini": {"warn": 0.5, "block": 0.1}})


def test_limits_are_kept_with_a_home_without_a_change() -> None:
    made = parse(
        {
            "gates": {
                "psi": {"warn": 1, "block": None},
                "tables": {"topics.gini": {"warn": 0, "block": 1}},
            }
        },
        where="my.yaml",
    )
    assert digest(Settings.model_validate(made.model_dump(mode="json"))) == digest(made)


def test_running_totals_are_measured_and_not_judged() -> None:
    """Each run shifts all bins of a count that only grows; the demo's second date has PSI 1.8."""
    settings = limits()
    tables = ("video_statistics", "video_counts")
    totals = [f"{t}.{c}.psi" for t in tables for c in ("video_exposures", "video_clicks")]
    assert [settings.of(name) for name in totals] == [Limits(warn=None, block=None)] * 4
