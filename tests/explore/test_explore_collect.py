"""What the page holds, by hand on six videos, by a plain oracle on synthetic ones."""

import json
import re
import tracemalloc
import unicodedata
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import topic_world as world
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import explore as synthetic
from producers.topics.neighbours import near_duplicates
from vidtopics import contracts, explore
from vidtopics.errors import TableError
from vidtopics.explore import covers, write_page
from vidtopics.explore.geometry import plane, similar
from vidtopics.explore.html import script_safe
from vidtopics.gates.versions import dataset_of as gates_dataset_of
from vidtopics.tables import Tables

MAX = 160 * 160  # pixels of a cover


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return world.build(tmp_path_factory.mktemp("explore") / "home")


@pytest.fixture(scope="module")
def data(tables, tmp_path_factory):
    page = write_page(tables, tmp_path_factory.mktemp("page") / "page.html", max_pixels=MAX)
    return world.page_data(page.path)


@pytest.fixture(scope="module")
def index(data):
    return data[0]


@pytest.fixture(scope="module")
def parts(data):
    return data[1]


@pytest.fixture(scope="module")
def second_day(tmp_path_factory):
    home = tmp_path_factory.mktemp("explore") / "home"
    tables = world.build(home)
    world.next_day(tables)
    return world.page_data(write_page(tables, home / "explore.html").path)


def test_the_release_as_its_tables_say(index):
    release = index["release"]
    assert (release["id"], release["epoch"]) == (1, 3)
    assert release["as_of"] == world.day(8).isoformat()
    assert release["mean_topics"] == pytest.approx((1 + 2 + 2 + 1 + 1) / 5)
    assert (release["videos"], release["below"]) == (5, 1)
    assert release["prior"] == [0.2, 10]  # 20 of 100 are clicked


def test_removed_videos_retired_topics_and_later_tags_are_left_out(index, parts):
    assert [parts["videos/0"]["id"], parts["videos/1"]["id"]] == [["b", "a"], ["c/ç ?#", "d", "e"]]
    assert index["topics"]["id"] == [4, 7, 9]
    assert parts["videos/0"]["tags"] == [["<b>nap</b>", "sofa"], []]


def test_a_part_holds_videos_of_one_topic_from_its_centre_out(index, parts):
    assert index["shelves"] == {
        "start": [0, 2, 5, 5],  # the last: videos without a topic
        "videos": [2, 3, 0, 0],
        "first_part": [0, 1, 2, 2],
    }
    assert [parts[name]["first"] for name in ("videos/0", "videos/1")] == [0, 2]
    assert parts["videos/0"]["topics"] == [[0, 9375, 1, 5000], [0, 7500]]
    assert parts["videos/1"]["topics"] == [[1, 8750, 0, 6250], [1, 8125], [1, 2500]]
    assert parts["videos/1"]["below"] == [0, 0, 1]


def test_counts_of_videos(parts):
    assert (parts["videos/0"]["exposures"], parts["videos/0"]["clicks"]) == ([10, 30], [5, 3])
    assert (parts["videos/1"]["exposures"], parts["videos/1"]["clicks"]) == (
        [0, 60, None],
        [0, 12, None],
    )


def test_figures_of_topics(index):
    topics = index["topics"]
    assert topics["videos"] == [3, 4, 0]  # those that carry it
    assert topics["nearest"] == [2, 3, 0]
    assert (topics["exposures"], topics["clicks"]) == ([40, 70, 0], [8, 17, 0])
    # (9375 + 7500) / 2, (8750 + 8125 + 2500) / 3
    assert topics["closeness"] == [8437, 6458, None]
    assert topics["below"] == [0, 1, 0]
    # topic 7: b and c are cats, d and e dogs; the tie goes by name
    assert (topics["class"], topics["class_share"]) == (["cats", "cats", None], [10000, 5000, None])
    # cosines: 4 and 7 0.6, 9 is at right angles to both
    assert (topics["similar"], topics["cosine"]) == (
        [[1, 2], [0, 2], [0, 1]],
        [[6000, 0], [6000, 0], [0, 0]],
    )


def test_a_topic_lists_its_videos_by_weight_and_its_queue_by_position(parts):
    assert [parts[f"topics/{t}"]["central"] for t in range(3)] == [[0, 1, 2], [2, 3, 0, 4], []]
    assert parts["topics/1"]["weights"] == [8750, 8125, 5000, 2500]
    assert parts["topics/0"]["queue"] == [[0, 3500, 10, 0], [2, 2000, 0, 1], [1, 1200, 30, 0]]
    assert [parts[f"topics/{t}"]["queued"] for t in range(3)] == [3, 1, 0]


def test_copies_and_videos_of_another_class_are_listed(parts):
    # a and d have one content; d is shown more often
    assert parts["duplicates"] == {
        "contents": 1,
        "videos": 2,
        "apart": 1,
        "groups": [{"places": [3, 1], "videos": 2, "topics": 2}],
        "alike": [],  # there are no vectors
        "recall": 1,
    }
    # half of topic 7's videos are cats; d and e are dogs; e is below the threshold
    assert parts["misplaced"] == {
        "other_class": [3, 4],
        "other_class_count": 2,
        "below": [4],
        "below_count": 1,
        "disagreeing": [],  # there are no vectors
    }


@pytest.mark.parametrize("cells", [1, 1_000])  # a row at a time, and all at once
def test_blocks_say_why_a_video_is_where_it_is(tmp_path, monkeypatch, cells):
    monkeypatch.setattr("vidtopics.explore.blocks.CELLS", cells)
    tables = world.build(tmp_path / "home")
    world.vectors(tables)
    _, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    first, second = parts["videos/0"], parts["videos/1"]
    # b's topics are 4 and 7, a's is 4
    assert first["tag"] == [[10000, 10000], [10000]]
    assert first["joint"] == [[0, 10000], [0]]
    assert (first["near_tag"], first["near_joint"]) == ([[1], [0]], [[1], [0]])
    # c has 7 and 4; d has no tag block, e no joint block
    assert second["tag"] == [[10000, 10000], [None], [10000]]
    assert second["joint"] == [[6001, 0], [10000], [None]]  # 0.6 is 0.6001 in float16
    assert (second["near_tag"], second["near_joint"]) == ([[4], [], [2]], [[3], [2], []])
    # b and a are in 4 by their tags alone: 1 and 0; c's differ by 0.4
    assert parts["misplaced"]["disagreeing"] == [0, 1, 2]


def test_the_mean_of_the_releases_topic_model_is_subtracted(tmp_path, monkeypatch):
    tables = world.build(tmp_path / "home")
    world.vectors(tables, model=7)

    def load(home, number):
        assert (home, number) == (tables.home, 7)
        return SimpleNamespace(arrays={"tag_mean": np.array([2.0])})

    monkeypatch.setattr("vidtopics.explore.blocks.load", load)
    _, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    # a block of one number less 2 points the other way; one that is absent stays so
    assert parts["videos/0"]["tag"] == [[-10000, -10000], [-10000]]
    assert parts["videos/1"]["tag"] == [[-10000, -10000], [None], [-10000]]


def test_videos_of_nearly_one_content_are_listed_unless_they_are_copies(tmp_path, monkeypatch):
    tables = world.build(tmp_path / "home")
    same = {v: ([1], [0, 1]) for v in "bcdf"} | {"a": ([1], [0, 1]), "e": ([0], [0.6, 0.8])}
    monkeypatch.setattr(world, "BLOCKS", {"c/ç ?#" if v == "c" else v: b for v, b in same.items()})
    world.vectors(tables)
    _, parts = world.page_data(
        write_page(tables, tmp_path / "page.html", find_pairs=near_duplicates).path
    )
    # Topic 4 has b and a, topic 7 c, d and e; a and d are copies; e, with 0.8, isn't near enough
    alike = [[1.0, *pair] for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (2, 3))]
    assert parts["duplicates"]["alike"] == alike
    monkeypatch.setattr("vidtopics.explore.blocks.ALIKE", 0.7)
    monkeypatch.setattr("vidtopics.explore.findings.LISTED", 8)
    _, parts = world.page_data(
        write_page(tables, tmp_path / "page.html", find_pairs=near_duplicates).path
    )
    near = [pytest.approx([0.8, place, 4], abs=1e-3) for place in range(3)]
    assert parts["duplicates"]["alike"] == [*alike, *near]


def test_parents_and_splits_are_those_of_the_topics(tmp_path, monkeypatch):
    lineage = {
        4: {"split_from": 0, "parent_topic_id": 1, "parent_label_terms": ["pets", "fur", "paws"]},
        7: {"split_from": 4, "parent_topic_id": 1, "parent_label_terms": ["pets", "fur", "paws"]},
        9: {"split_from": None, "parent_topic_id": None, "parent_label_terms": None},
    }
    publish = world.publish

    def publish_with_lineage(tables, table, records, **options):
        if table.name == "topics":
            records = [row | lineage.get(row["topic_id"], {}) for row in records]
        publish(tables, table, records, **options)

    monkeypatch.setattr(world, "publish", publish_with_lineage)
    tables = world.build(tmp_path / "home")
    index, _ = world.page_data(write_page(tables, tmp_path / "page.html").path)
    assert index["topics"]["split_from"] == [0, 4, 0]
    assert index["topics"]["parent"] == [1, 1, None]
    assert index["groups"] == {"1": ["pets", "fur"]}


def test_one_release_has_nothing_to_compare_with(index, parts):
    assert parts["changes"] is None
    assert index["history"]["sizes"] == [[3], [4], [0]]


def test_changes_since_the_day_before(second_day):
    index, parts = second_day
    # By place: 4 has b c a, 9 nothing, 12 d g e
    assert index["topics"]["id"] == [4, 9, 12]
    assert index["history"]["sizes"] == [[3, 3], [0, 0], [0, 3]]
    assert [day["as_of"][:10] for day in index["history"]["days"]] == ["2026-01-08", "2026-01-09"]
    changes = parts["changes"]
    assert changes["since"]["release"] == 1
    # a and b keep their first topic, c, d and e don't; a alone keeps its set: b lost its second
    # topic, c has the same two the other way round
    assert (changes["compared"], changes["same_first"], changes["same_set"]) == (5, 2, 2)
    assert (changes["arrived"], changes["departed"]) == (1, 0)
    assert changes["born"] == [2]
    # d and e, but not c, whose first topic is 4 now, went to 12
    assert changes["retired"] == [{"id": 7, "terms": ["dog", "naïve"], "went": [[2, 2], [0, 1]]}]
    assert changes["moves"] == [
        {"from": 7, "to": 2, "videos": 2, "examples": [3, 5]},
        {"from": 7, "to": 0, "videos": 1, "examples": [1]},
    ]
    assert (changes["arrivals"], changes["arrivals_by_topic"]) == ([4], [[2, 1]])


def test_exposures_by_day_are_of_todays_videos(second_day):
    _, parts = second_day
    # topic 4 has b, c and a: 10 + 0 + 30 exposures the day before, 10 more of each since
    assert (parts["topics/0"]["exposures"], parts["topics/0"]["clicks"]) == ([40, 70], [8, 11])


def test_a_day_whose_files_are_gone_is_named(tmp_path, monkeypatch):
    tables = world.build(tmp_path / "home")
    world.next_day(tables)

    def dataset_of(tables, table, version):
        if (table, version) == (contracts.VIDEO_TOPICS, 1):
            raise TableError("a vacuum took its files")
        return gates_dataset_of(tables, table, version)

    monkeypatch.setattr("vidtopics.explore.released.dataset_of", dataset_of)
    index, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    assert index["history"]["gone"] == [1]
    assert index["history"]["sizes"] == [[3], [0], [3]]
    assert parts["changes"] is None


def test_covers_go_to_what_is_shown_first(parts, monkeypatch, tables, tmp_path):
    # d is damaged, e's file is gone
    assert {p: sorted(parts[p].get("covers", {})) for p in ("videos/0", "videos/1")} == {
        "videos/0": ["0", "1"],
        "videos/1": ["2"],
    }
    # Of two: the first of either topic.
    fewer = covers._SHOWN_FIRST.replace(str(covers.COVERS), "2")
    monkeypatch.setattr(covers, "_SHOWN_FIRST", fewer)
    _, few = world.page_data(write_page(tables, tmp_path / "few.html").path)
    assert [sorted(few[p]["covers"]) for p in ("videos/0", "videos/1")] == [["0"], ["2"]]
    # Every cover is a bomb.
    _, none = world.page_data(write_page(tables, tmp_path / "none.html", max_pixels=MAX - 1).path)
    assert "covers" not in none["videos/0"]


def test_many_parts_lie_in_a_folder_and_those_of_the_old_page_go(tables, data, tmp_path):
    output = tmp_path / "page.html"
    stale = tmp_path / "page.parts" / "0123456789abcdef"
    stale.mkdir(parents=True)
    page = write_page(tables, output, max_pixels=MAX, inline=0)
    index, parts = world.page_data(page.path)
    assert index["folder"] == f"page.parts/{page.folder.name}/"
    assert parts == data[1]
    assert page.folder_size == sum(p.stat().st_size for p in page.folder.rglob("*.js"))
    assert [p.name for p in stale.parent.iterdir()] == [page.folder.name]
    again = write_page(tables, output, max_pixels=MAX, inline=0)
    assert (again, again.folder.is_dir()) == (page, True)
    write_page(tables, output, max_pixels=MAX)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_what_fails_leaves_the_old_page_and_its_parts(tables, tmp_path, monkeypatch):
    page = write_page(tables, tmp_path / "page.html", inline=0)
    before = sorted(p for p in tmp_path.rglob("*"))
    text = page.path.read_text(encoding="utf-8")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(explore, "write_videos", fail)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "page.html"))):
        write_page(tables, tmp_path / "page.html", inline=0)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    assert page.path.read_text(encoding="utf-8") == text


def test_what_is_published_after_the_release_is_not_shown(tmp_path):
    tables = world.build(tmp_path / "home", queues=False)
    again = {video: [(9, 0.5)] for video in "abde"}
    # At the same as-of time it is known later, at a later one from later on.
    world.publish(
        tables, contracts.VIDEO_TOPICS, world.assigned(again), created=world.T + world.HOUR
    )
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned(again), at=world.T + world.DAY)
    index, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    assert parts["videos/0"]["topics"] == [[0, 9375, 1, 5000], [0, 7500]]
    assert (index["queues"], parts["topics/0"]["queue"]) == (False, [])
    world.release(tables, world.T + world.DAY)
    index, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    assert index["shelves"]["videos"] == [0, 0, 4, 1]
    assert parts["videos/1"]["topics"] == [[]]  # c, which has none any more


def test_a_table_that_the_release_does_not_name_is_not_read(tmp_path):
    tables = Tables(tmp_path)
    world.catalog(tables, tmp_path / "covers")
    world.topics(tables)
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned(world.TOPICS_OF))
    world.release(tables)
    counts = [{"video_id": "a", "video_exposures": 9, "video_clicks": 1}]
    world.publish(tables, contracts.VIDEO_STATISTICS, counts)
    _, parts = world.page_data(write_page(tables, tmp_path / "page.html").path)
    assert parts["videos/0"]["exposures"] == [None, None]


def test_errors_name_the_command_that_mends(tmp_path):
    tables = Tables(tmp_path)
    page = tmp_path / "page.html"
    with pytest.raises(
        TableError, match=r"releases: expected a release, found none. Mend: .*`vidtopics run`"
    ):
        write_page(tables, page)
    world.catalog(tables, tmp_path / "covers")
    world.release(tables)
    with pytest.raises(
        TableError, match=r"expected topics in release 1, found none. Mend: .*`vidtopics run`"
    ):
        write_page(tables, page)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["covers", "tables"]


def test_epochs_are_never_mixed(tmp_path):
    tables = Tables(tmp_path)
    world.catalog(tables, tmp_path / "covers")
    world.topics(tables)
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned(world.TOPICS_OF, epoch=2))
    world.release(tables)
    with pytest.raises(
        TableError, match=r"video_topics: expected topic epoch 3, the release's, found \[2\]"
    ):
        write_page(tables, tmp_path / "page.html")


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory):
    """Synthetic homes of 5,000 and of 20,000 videos, 80 a topic."""
    homes = {n: tmp_path_factory.mktemp(f"videos{n}") / "home" for n in (5_000, 20_000)}
    for count, home in homes.items():
        synthetic.build(home, count, count // 80)
    return homes


@pytest.fixture(scope="module")
def written(catalogues, tmp_path_factory):
    """Their pages with parts beside them, and the peak of what Python and numpy held, in bytes."""
    pages = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covers, "thumbnail", lambda *_: ("c" * 1_500, 0.75))
        for count, home in catalogues.items():
            output = tmp_path_factory.mktemp("pages") / "page.html"
            tracemalloc.start()
            page = write_page(Tables(home), output, inline=0)
            pages[count] = (page, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    return pages


def test_the_page_itself_holds_its_topics_alone(written):
    large, _ = written[20_000]
    assert large.size < 75_000 + 250 * 500  # 250 topics of 500 bytes, the script, the style
    # a thumbnail of 1,500 bytes for half of the videos; the rest must be little
    assert large.folder_size / 20_000 < 750 + 500


def test_what_python_holds_does_not_grow_with_the_videos(written):
    # Four times as many. A byte per video is held for search, and centroids of 2,432 numbers.
    centroids = (250 - 62) * 2_432 * (4 + 8)
    assert written[20_000][1] < 1.3 * written[5_000][1] + centroids


def test_every_part_is_complete(written):
    index, parts = world.page_data(written[20_000][0].path)
    shelves = index["shelves"]
    places = [
        (part["first"] + i, video)
        for name, part in parts.items()
        if name.startswith("videos/")
        for i, video in enumerate(part["id"])
    ]
    assert sorted(place for place, _ in places) == list(range(20_000))
    assert sum(shelves["videos"]) == 20_000
    by_id = {
        k: v
        for n, p in parts.items()
        if n.startswith("ids/")
        for k, v in zip(p["keys"], p["places"], strict=True)
    }
    assert by_id == {video: place for place, video in places}
    for kind in ("ids", "words"):
        names = sorted(
            (n for n in parts if n.startswith(f"{kind}/")), key=lambda n: int(n.split("/")[1])
        )
        assert index["firsts"][kind] == [parts[name]["keys"][0] for name in names]
        keys = [key for name in names for key in parts[name]["keys"]]
        assert keys == sorted(set(keys), key=str.encode)


def test_the_index_of_words_is_that_of_a_plain_oracle(written):
    _, parts = world.page_data(written[5_000][0].path)
    expected = {}
    for name, part in parts.items():
        if not name.startswith("videos/"):
            continue
        for i, title in enumerate(part["title"]):
            for word in " ".join([title, *part["tags"][i]]).lower().split():
                expected.setdefault(word, set()).add(part["first"] + i)
    index = {}
    for name, part in parts.items():
        if name.startswith("words/"):
            for word, gaps in zip(part["keys"], part["gaps"], strict=True):
                index[word] = set(np.cumsum(gaps).tolist())
    assert index == expected


def words_oracle(text):
    """Words as the page's search folds them, in plain Python."""
    folded = "".join(
        c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c)[0] != "M"
    )
    runs = re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]+", unicodedata.normalize("NFC", folded))
    cut = [[r] if r.isascii() else [r[i : i + 2] for i in range(len(r))] for r in runs]
    return {word for words in cut for word in words}


@given(st.text(st.sampled_from("aZé9 -猫好日Å"), max_size=12))
def test_words_fold_case_and_accents_and_pair_scripts_without_spaces(text):
    import duckdb

    from vidtopics.explore.search import _MACROS

    with duckdb.connect() as con:
        con.execute(_MACROS)
        words = con.execute("SELECT words(?)", [text]).fetchall()[0][0]
    assert set(words) == words_oracle(text)


@given(st.text())
def test_any_text_stays_inside_its_script_element(text):
    safe = script_safe(json.dumps([text], ensure_ascii=False))
    assert json.loads(safe) == [text]
    assert not set(safe) & set("<>&\u2028\u2029")


def test_similar_topics_against_a_plain_oracle(monkeypatch):
    monkeypatch.setattr("vidtopics.explore.geometry.ROWS", 7)  # 40 topics in six slices
    centroids = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    places, cosines = similar(centroids, 5)
    for i in range(40):
        others = sorted((-float(centroids[i] @ centroids[j]), j) for j in range(40) if j != i)
        assert places[i].tolist() == [j for _, j in islice(others, 5)]
        assert cosines[i] == pytest.approx([-c for c, _ in islice(others, 5)], abs=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_few_topics_have_few_neighbours_and_a_place(count):
    centroids = np.eye(2, dtype=np.float32)[:count]
    assert similar(centroids, 8)[0].shape == (count, count - 1)
    assert plane(centroids).shape == (count, 2)


@pytest.mark.parametrize("count", [5, 12])
def test_the_plane_keeps_distances_of_points_that_lie_in_one(count):
    """With fewer points than dimensions, and with more."""
    rng = np.random.default_rng(5)
    flat = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 7))
    places = plane(flat.astype(np.float32))
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    assert np.linalg.norm(places[:, None] - places[None], axis=2) == pytest.approx(apart, abs=1e-4)
