"""Recall against a store in memory.

Whose topics, how many round trips, epochs that don't mix, and what tops up what.
"""

import numpy as np
import pytest
from fake_store import FakeClient

from consumers.retrieval import Reason, Recall
from consumers.retrieval.epochs import left_out, of_epoch
from consumers.retrieval.recall import NEW_USER, NO_TOPICS
from vidtopics.online import Status
from vidtopics.settings import RecallSettings

HISTORY = "user_recent_clicks+user_recent_skips"
SETTINGS = RecallSettings(
    recent_clicks=5,
    topics=2,
    candidates=6,
    floor=0.1,
    fresh_share=0,
    parent_prior=0,
    popular_share=0,
)


@pytest.fixture
def client():
    """Topics 10, 11 of parent 1 and 20 of parent 2, with queues of five.

    User ann clicked a1, b1, a2, c1 (newest first) and gone, which was taken down.
    """
    return FakeClient(
        topics={
            "a1": ([10, 11], 1),
            "a2": ([10], 1),
            "b1": ([11], 1),
            "c1": ([20, 10], 1),
            "gone": Status.NULL,
            "bare": ([], 1),
        },
        clicks={"ann": ["a1", "b1", "gone", "a2", "c1"], "bob": ["gone", "bare", "unknown"]},
        lists={
            10: ["a1", "x1", "a2", "x2", "s"],
            11: ["b1", "s", "y1", "y2", "y3"],
            20: ["z1", "x1", "z2", "z3", "z4"],
            "p1": ["a1", "p", "x1", "b1", "q"],
            "p2": ["z1", "x1", "z2"],
            "all": ["a1", "z1", "w", "v"],
        },
        parents=[2, 1],
    )


def recall(client, user, seed=7, **changes):
    return Recall(client, SETTINGS.model_copy(update=changes)).recall(user, seed=seed)


def test_candidates_of_a_known_user_in_three_round_trips(client):
    """Topic 10 in three clicks, 11 in two, 20 in one: N_2 = 2 are 10 and 11.

    Of 6 candidates 3.6 and 2.4, so 4 and 2; queue 10 has three that are new (x1, x2, s), so queue
    11 gives three (s is a candidate already). They come in turn.
    """
    candidates = recall(client, "ann")
    assert list(candidates.reasons.items()) == [
        ("x1", Reason("topic", 10, 2, 3)),
        ("y1", Reason("topic", 11, 3, 2)),
        ("x2", Reason("topic", 10, 4, 3)),
        ("y2", Reason("topic", 11, 4, 2)),
        ("s", Reason("topic", 10, 5, 3)),
        ("y3", Reason("topic", 11, 5, 2)),
    ]
    assert client.trips == [HISTORY, "video_topics", "queues"]
    assert (candidates.popular, candidates.epoch, candidates.left_out) == ("", 1, {"removed": 1})
    assert candidates.clicks == client.clicks["ann"]
    assert candidates.history_topics["topic_ids"][:, 0].tolist() == [10, 11, -1, 10, 20]


def test_parents_and_then_the_catalogue_top_up(client):
    """Of 12 the topics have 6. Parent 1 has 4 clicks (a1, twice in it, is one), parent 2 one.

    6 are missing: quotas 5 (4.8) and 1 (1.2). p1 has two that are new, p and q; so p2, where z1 is
    first, gives z1 and z2, which is all it has; the catalogue has w and v.
    """
    candidates = recall(client, "ann", candidates=12)
    assert list(candidates.reasons.items())[6:] == [
        ("p", Reason("parent", 1, 2, 4)),
        ("z1", Reason("parent", 2, 1, 1)),
        ("q", Reason("parent", 1, 5, 4)),
        ("z2", Reason("parent", 2, 3, 1)),
        ("w", Reason("catalogue", 0, 3, 0)),
        ("v", Reason("catalogue", 0, 4, 0)),
    ]
    assert client.trips == [HISTORY, "video_topics", "queues", "queues", "queues"]


def test_popular_videos_come_in_turn_with_those_of_topics(client):
    """Of the catalogue's a1 was clicked: z1, w and v stand between x1, y1, x2, y2, s, y3."""
    candidates = recall(client, "ann", popular_share=0.5)
    assert candidates.video_ids == ["x1", "z1", "y1", "w", "x2", "v"]
    assert candidates.reasons["z1"] == Reason("catalogue", 0, 2, 0)
    assert candidates.reasons["y1"] == Reason("topic", 11, 3, 2)
    assert client.trips == [HISTORY, "video_topics", "queues", "video_topics", "queues"]
    quarter = recall(client, "ann", popular_share=0.25)
    assert quarter.video_ids == ["x1", "y1", "z1", "x2", "y2", "s"]


def test_a_popular_video_that_the_users_parents_give_too_has_their_reason(client):
    """12 are all that the queues have; z1 stands second, for the catalogue has it first."""
    candidates = recall(client, "ann", candidates=12, popular_share=0.5)
    assert "".join(candidates.video_ids) == "x1z1y1wx2vy2sy3pqz2"
    assert candidates.reasons["z1"] == Reason("parent", 2, 1, 1)
    assert recall(client, "ann", candidates=12).video_ids != candidates.video_ids


def test_popular_videos_are_tilted_to_the_users_topics(client):
    """Of 208 clicks on the popular ones a1 has 100, z1 50, w 33 and v 25; c = 1.

    Topic 10, of a1 and v, has .6 of them and three of ann's four clicks with topics: a lift of
    3.6 / 3; all four are of its parent, 4.6 / 3: v comes to 25 * 1.36 = 34. She never clicked topic
    30, of z1: 50 * .2 = 10. w has no topic. What is missing of six comes from her topics.
    """
    client.topics |= {"v": ([10], 1), "z1": ([30], 1), "w": ([], 1)}
    tilted = recall(client, "ann", popular_share=1, parent_prior=1)
    assert tilted.video_ids == ["v", "w", "z1", "x1", "y1", "x2"]
    assert tilted.reasons["v"] == Reason("catalogue", 0, 4, 0)  # its place in the queue
    flat = recall(client, "ann", popular_share=1, parent_prior=1e9)
    assert flat.video_ids[:3] == ["z1", "w", "v"]


def test_only_the_newest_clicks_count(client):
    """Of the newest two, a1 and b1, topic 11 has two clicks and topic 10 one.

    Video a2 is no longer known to be clicked.
    """
    candidates = recall(client, "ann", recent_clicks=2)
    assert candidates.clicks == ["a1", "b1"]
    assert {r.topic_id: r.clicks for r in candidates.reasons.values()} == {11: 2, 10: 1}
    assert "a2" in candidates.reasons


def test_a_queue_that_begins_with_all_clicks_still_gives_every_candidate(client):
    client.lists[10] = [*client.clicks["ann"], *(f"w{i}" for i in range(6))]
    client.lists[11] = []
    assert recall(client, "ann").video_ids == [f"w{i}" for i in range(6)]


def test_topics_of_two_epochs_do_not_mix(client):
    """a1 and c1 have been written anew, b1 and a2 not yet; the queues are of the new epoch."""
    client.topics |= {"a1": ([50], 2), "c1": ([50], 2)}
    client.epoch, client.lists = 2, {50: ["n1", "n2"], 10: ["wrong"]}
    candidates = recall(client, "ann")
    assert (candidates.epoch, candidates.video_ids) == (2, ["n1", "n2"])
    assert candidates.left_out == {"removed": 1, "topics of another epoch": 2}
    assert candidates.history_topics["topic_ids"][:, 0].tolist() == [50, -1, -1, -1, 50]
    assert candidates.history_topics.present.tolist() == [True, False, False, False, True]


def test_clicks_of_another_epoch_than_the_queues_lead_to_popular_parents(client):
    client.epoch = 2
    candidates = recall(client, "ann")
    assert (candidates.popular, candidates.epoch) == (NO_TOPICS, 2)
    assert candidates.left_out == {"removed": 1, "topics of another epoch": 4}
    assert not candidates.history_topics.present.any()


def test_a_new_user_gets_the_popular_of_each_parent_in_equal_parts(client):
    """Three of parent 2, whose queues were clicked most, and three of parent 1; x1 is of both."""
    candidates = recall(client, "nobody")
    assert list(candidates.reasons.items()) == [
        ("z1", Reason("parent", 2, 1, 0)),
        ("a1", Reason("parent", 1, 1, 0)),
        ("x1", Reason("parent", 2, 2, 0)),
        ("p", Reason("parent", 1, 2, 0)),
        ("z2", Reason("parent", 2, 3, 0)),
        ("b1", Reason("parent", 1, 4, 0)),
    ]
    assert (candidates.popular, candidates.clicks, candidates.left_out) == (NEW_USER, [], {})
    assert len(candidates.history_topics) == 0
    assert client.trips == [HISTORY, "video_topics", "queues"]


def test_popular_parents_count_beside_the_users_own(client):
    """Parent 2 has half of all clicks: with 6 of them to be counted 1 + 3 of 5 + 6, so 2 of 6."""
    own = recall(client, "ann", candidates=12).reasons.values()
    tilted = recall(client, "ann", candidates=12, parent_prior=6).reasons.values()
    counts = [sum(r.topic_id == 2 for r in reasons) for reasons in (own, tilted)]
    assert counts == [2, 2]
    client.lists["p1"] = [f"q{i}" for i in range(9)]
    own, tilted = (
        recall(client, "ann", candidates=12, parent_prior=n).reasons.values() for n in (0, 6)
    )
    counts = [sum(r.topic_id == 2 for r in reasons) for reasons in (own, tilted)]
    assert counts == [1, 2]


def test_all_parents_count_for_a_new_user_and_the_catalogue_tops_up(client):
    candidates = recall(client, "nobody", topics=1, candidates=99)
    levels = [(r.level, r.topic_id) for r in candidates.reasons.values()]
    assert {level for level, _ in levels} == {"parent", "catalogue"}
    assert {topic for level, topic in levels if level == "parent"} == {1, 2}
    assert candidates.video_ids[-2:] == ["w", "v"]


def test_a_user_whose_clicks_have_no_topics(client):
    candidates = recall(client, "bob")
    assert (candidates.popular, candidates.left_out) == (
        NO_TOPICS,
        {"removed": 1, "not found": 1, "no topic": 1},
    )
    assert {r.topic_id for r in candidates.reasons.values()} == {2, 1}


def test_without_any_queue_there_are_no_candidates(client):
    client.lists, client.parents = {}, []
    assert recall(client, "nobody").video_ids == recall(client, "ann").video_ids == []


def test_fresh_videos_are_drawn_anew_and_the_same_by_seed(client):
    """Of 8 candidates half are fresh; 20 wait in each topic's pool, and a request draws of them."""
    client.lists |= {"10:fresh": [f"f{i}" for i in range(20)], "11:fresh": ["a1", "g1", "g2"]}
    first, again, other = (
        recall(client, "ann", seed, fresh_share=0.5, candidates=8) for seed in (1, 1, 2)
    )
    assert list(first.reasons.items()) == list(again.reasons.items())
    assert (first.seed, other.seed) == (1, 2)
    drawn = [
        {v for v, r in c.reasons.items() if r.fresh and r.topic_id == 10} for c in (first, other)
    ]
    assert drawn[0] != drawn[1]
    assert all(names and names < set(client.lists["10:fresh"]) for names in drawn)
    assert "a1" not in first.reasons  # clicked: no pool brings it back
    seeds = {recall(client, "ann", seed=None).seed for _ in range(3)}
    assert len(seeds) == 3


def test_seen_videos_never_come_back_unless_the_setting_says_so(client):
    """ann was shown x1, y1 and y1 again without a click; y1 has no topics that count for her."""
    client.skips = {"ann": ["x1", "y1", "y1"]}
    client.topics["x1"] = ([20], 1)
    candidates = recall(client, "ann")
    assert not {"x1", "y1", *client.clicks["ann"]} & set(candidates.reasons)
    assert candidates.skips == ["x1", "y1", "y1"]
    assert candidates.history == [*client.clicks["ann"], "x1", "y1", "y1"]
    assert candidates.history_topics["topic_ids"][5:, 0].tolist() == [20, -1, -1]
    assert candidates.left_out == {"removed": 1}  # of clicks alone
    assert {r.topic_id: r.clicks for r in candidates.reasons.values()}[10] == 3
    assert {"x1", "y1"} <= set(recall(client, "ann", leave_out="clicked").reasons)
    assert recall(client, "ann", recent_clicks=2).skips == ["x1", "y1"]


def test_views_that_no_user_has_yet(client):
    client.views = ("video_topics", "video_statistics")
    candidates = recall(client, "ann")
    assert (candidates.popular, candidates.clicks, candidates.skips) == (NEW_USER, [], [])
    assert client.trips == ["video_topics", "queues"]


def test_the_time_of_the_request(client):
    assert Recall(client, SETTINGS).recall("ann", at_us=7).at_us == 7
    assert recall(client, "ann").at_us > 1_700_000_000_000_000


def test_rows_of_one_epoch(client):
    client.topics["b1"] = ([70], 2)
    topics = client.read("video_topics", ["a1", "b1", "gone", "a2"])
    before = topics["topic_ids"].copy()
    only = of_epoch(topics, 2)
    assert only.present.tolist() == [False, True, False, False]
    assert only["topic_ids"][[0, 1], :2].tolist() == [[-1, -1], [70, -1]]
    assert (only["topic_weights"][0].any(), only["topic_count"].tolist()) == (False, [0, 1, 0, 0])
    assert only.null["topic_ids"].tolist() == [True, False, True, True]
    assert left_out(topics, 2) == {"removed": 1, "topics of another epoch": 2}
    assert np.array_equal(topics["topic_ids"], before)
