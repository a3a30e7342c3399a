"""Fig. 4 of a small home: a page whose pictures are there, and whose pairs share a topic."""

import re
from collections import Counter

import pytest
from small_home import T1

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.errors import TableError
from vidtopics.evaluate import figure_4


def test_pairs_share_their_topic_and_have_pictures(home, tmp_path, monkeypatch):
    chosen = []
    draw = figure_4._pair

    def spy(catalogue, pair, *rest):
        chosen.append([catalogue.videos["video_id"][row].as_py() for row in pair[:2]])
        return draw(catalogue, pair, *rest)

    monkeypatch.setattr(figure_4, "_pair", spy)
    count = figure_4.write_figure_4(home.at(T1), tmp_path / "figure.html")
    first = {r["video_id"]: r["topic_ids"][0] for r in home.holds(VIDEO_TOPICS, T1)}
    assert count == len(chosen) > 1
    assert all(first[a] == first[b] != -1 for a, b in chosen)
    page = (tmp_path / "figure.html").read_text()
    assert len(re.findall(r'src="data:image/webp;base64,[^"]{40,}"', page)) >= 2 * count
    assert page.count("cosine of covers") == count
    sizes = Counter(first.values())
    for a, _ in chosen:
        heading = rf"<h2>Topic {first[a]}: [^<]+<small>\({sizes[first[a]]:,} videos\)</small>"
        assert re.search(heading, page)


def test_without_a_pair_nothing_is_written(home, tmp_path, monkeypatch):
    monkeypatch.setattr(figure_4, "unlike_covers", lambda *args, count: [])
    with pytest.raises(TableError, match=r"Fig\. 4: expected two videos of a topic"):
        figure_4.write_figure_4(home.at(T1), tmp_path / "figure.html")
    assert not (tmp_path / "figure.html").exists()
