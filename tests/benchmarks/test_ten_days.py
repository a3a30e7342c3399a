"""Ten days at a small scale: what each way of keeping topics writes and moves."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from benchmarks.ten_days import (
    APPEARS_ON,
    DAYS,
    PANELS,
    TRAINED_ON,
    WAYS,
    days,
    plot,
    simulate,
    table,
)
from vidtopics.settings import TopicSettings


@pytest.fixture(scope="module")
def figures():
    rows = simulate(1_500, TopicSettings(clusters=60), seed=7)
    return {way: [row for row in rows if row.way == way] for way in WAYS}


def test_every_way_goes_through_all_days(figures):
    sizes = [len(day.videos) for day in days(1_500, 7)]
    for way in WAYS:
        assert [row.day for row in figures[way]] == list(range(DAYS + 1))
        assert [row.videos for row in figures[way]] == sizes


def test_a_day_without_training_writes_new_videos_alone(figures):
    trained = figures["evolved"]
    for before, row in pairwise(trained):
        if row.day not in TRAINED_ON:
            assert (row.first_kept, row.set_kept, row.topic_rows) == (1, 1, 0)
            new = row.video_rows
            assert new == round(0.05 * before.videos) or row.day >= 6  # videos of a theme ended
            assert new < 0.06 * row.videos
        else:
            assert row.first_kept >= 0.95
            assert row.set_kept >= 0.85


def test_the_new_theme_is_born_at_the_next_training(figures):
    at = {row.day: row for row in figures["evolved"]}
    born_on = min(day for day in TRAINED_ON if day > APPEARS_ON)
    assert at[born_on].born + at[born_on].split >= 1
    assert at[born_on].below_threshold < at[born_on - 1].below_threshold
    assert all(row.born + row.split + row.retired == 0 for row in figures["untouched"][1:])


def test_steps_to_their_end_write_nearly_every_row(figures):
    later = figures["every day"][1:]
    assert sum(row.video_rows for row in later) > 0.8 * sum(row.videos for row in later)


def test_the_table_has_a_row_a_day(figures):
    lines = table(figures["evolved"], "evolved").splitlines()
    assert len(lines) == 2 + DAYS + 1
    assert lines[2].startswith("| 0 | 1,500 |")


def test_the_plot_has_a_line_for_each_way_with_a_point_a_day(figures):
    svg = ElementTree.fromstring(plot([row for way in WAYS for row in figures[way]]))
    lines = [e for e in svg.iter() if e.tag.endswith("polyline")]
    assert len(lines) == len(PANELS) * len(WAYS)
    assert all(len(line.attrib["points"].split()) == DAYS for line in lines)
    kept = [tuple(map(float, p.split(","))) for p in lines[0].attrib["points"].split()]
    shares = [row.set_kept for row in figures["evolved"] if row.day]
    assert kept[0][1] == min(y for _, y in kept)  # all stay on day 1: the top
    assert shares[0] == 1
    lowest = max(range(DAYS), key=lambda day: kept[day][1])
    assert shares[lowest] == min(shares)
