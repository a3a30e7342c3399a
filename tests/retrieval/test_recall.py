"""Recall against a store in memory.

Whose topics, how many round trips, epochs that don't mix, and every way to popular topics.
"""

import numpy as np
import pytest
from fake_store import FakeClient

from consumers.retrieval import Recall
from consumers.retrieval.epochs import common_epoch, left_out, of_epoch
from consumers.retrieval.recall import NEW_USER, NO_TOPICS, NOTHING_NEW
from consumers.retrieval.rules import Reason
from vidtopics.online import Status
from vidtopics.settings import RecallSettings

SETTINGS = RecallSettings(recent_clicks=5, topics=2, candidates=6, floor=0.1)


@pytest.fixture
def client():
    """Topics 1 to 3 with queues of five.

    User ann clicked a1, b1, a2, c1 (newest first) and gone, which was taken down.
    """
    return FakeClient(
        topics={
            "a1": ([1, 2], 1),
            "a2": ([1], 1),
            "b1": ([2], 1),
            "c1": ([3, 1], 1),
            "gone": Status.NULL,
            "bare": ([], 1),
        },
        clicks={"ann": ["a1", "b1", "gone", "a2", "c1"], "bob": ["gone", "bare", "unknown"]},
        lists={
            1: ["a1", "x1", "a2", "x2", "s"],
            2: ["b1", "s", "y1", "y2", "y3"],
            3: ["z1", "x1", "z2", "z3", "z4"],
        },
        popular=[3, 1, 2],
    )


def recall(client, user, **changes):
    return Recall(client, SETTINGS.model_copy(update=changes)).recall(user)


def test_candidates_of_a_known_user_in_three_round_trips(client):
    """Topic 1 in three clicks, 2 in two, 3 in one: N_2 = 2 are 1 and 2.

    Of 6 candidates 3.6 and 2.4, so 4 and 2; queue 1 has three that are new (x1, x2, s), so queue 2
    gives three (s is a candidate already).
    """
    candidates = recall(client, "ann")
    assert candidates.reasons == {
        "x1": Reason(1, 2, 3),
        "x2": Reason(1, 4, 3),
        "s": Reason(1, 5, 3),
        "y1": Reason(2, 3, 2),
        "y2": Reason(2, 4, 2),
        "y3": Reason(2, 5, 2),
    }
    assert client.trips == ["recent_clicks", "read", "queues"]
    assert (candidates.popular, candidates.epoch, candidates.left_out) == ("", 1, {"removed": 1})
    assert candidates.clicks == client.clicks["ann"]
    assert candidates.history_topics["topic_ids"][:, 0].tolist() == [1, 2, -1, 1, 3]


def test_only_the_newest_clicks_count(client):
    """Of the newest two, a1 and b1, topic 2 has two clicks and topic 1 one.

    Video a2 is no longer known to be clicked.
    """
    candidates = recall(client, "ann", recent_clicks=2)
    assert candidates.clicks == ["a1", "b1"]
    assert {r.topic_id: r.clicks for r in candidates.reasons.values()} == {2: 2, 1: 1}
    assert "a2" in candidates.reasons


def test_a_queue_that_begins_with_all_clicks_still_gives_every_candidate(client):
    client.lists[1] = [*client.clicks["ann"], *(f"w{i}" for i in range(6))]
    client.lists[2] = []
    assert list(recall(client, "ann").reasons) == [f"w{i}" for i in range(6)]


def test_topics_of_two_epochs_do_not_mix(client):
    """a1 and c1 have been written anew, b1 and a2 not yet.

    The epochs tie, and the later one counts. It has no queues here.
    """
    client.topics |= {"a1": ([50], 2), "c1": ([50], 2)}
    client.epoch, client.lists = 2, {50: ["n1", "n2"], 1: ["wrong"]}
    candidates = recall(client, "ann")
    assert (candidates.epoch, list(candidates.reasons)) == (2, ["n1", "n2"])
    assert candidates.left_out == {"removed": 1, "topics of another epoch": 2}
    assert candidates.history_topics["topic_ids"][:, 0].tolist() == [50, -1, -1, -1, 50]
    assert candidates.history_topics.present.tolist() == [True, False, False, False, True]


def test_clicks_of_an_epoch_without_queues_lead_to_popular_topics(client):
    client.epoch = 2
    candidates = recall(client, "ann")
    assert (candidates.popular, candidates.epoch) == (NO_TOPICS, 2)
    assert candidates.left_out == {"removed": 1, "topics of another epoch": 4}
    assert not candidates.history_topics.present.any()


def test_a_new_user_gets_popular_topics_in_equal_parts(client):
    candidates = recall(client, "nobody")
    assert candidates.reasons == {
        "z1": Reason(3, 1, 0),
        "x1": Reason(3, 2, 0),
        "z2": Reason(3, 3, 0),
        "a1": Reason(1, 1, 0),
        "a2": Reason(1, 3, 0),
        "x2": Reason(1, 4, 0),
    }
    assert (candidates.popular, candidates.clicks, candidates.left_out) == (NEW_USER, [], {})
    assert len(candidates.history_topics) == 0
    assert client.trips == ["recent_clicks", "read", "catalogue", "queues"]


def test_the_time_of_the_request(client):
    assert Recall(client, SETTINGS).recall("ann", at_us=7).at_us == 7
    assert recall(client, "ann").at_us > 1_700_000_000_000_000


def test_a_user_whose_clicks_have_no_topics(client):
    candidates = recall(client, "bob")
    assert (candidates.popular, candidates.left_out) == (
        NO_TOPICS,
        {"removed": 1, "not found": 1, "no topic": 1},
    )
    assert {r.topic_id for r in candidates.reasons.values()} == {3, 1}
    assert len(candidates.reasons) == 6


@pytest.mark.parametrize("queue", [[], ["a1", "a2"]], ids=["empty", "all clicked"])
def test_queues_without_anything_new(client, queue):
    client.lists |= {1: queue, 2: queue}
    candidates = recall(client, "ann")
    assert candidates.popular == NOTHING_NEW
    assert list(candidates.reasons) == ["z1", "x1", "z2", "z3", "z4"]


def test_without_any_queue_there_are_no_candidates(client):
    client.lists, client.popular = {}, []
    assert recall(client, "nobody").video_ids == recall(client, "ann").video_ids == []


def test_rows_of_one_epoch(client):
    client.topics["b1"] = ([7], 2)
    topics = client.read("video_topics", ["a1", "b1", "gone", "a2"])
    before = topics["topic_ids"].copy()
    assert (common_epoch(topics), common_epoch(client.read("video_topics", ["gone"]))) == (1, 0)
    only = of_epoch(topics, 2)
    assert only.present.tolist() == [False, True, False, False]
    assert only["topic_ids"][[0, 1], :2].tolist() == [[-1, -1], [7, -1]]
    assert (only["topic_weights"][0].any(), only["topic_count"].tolist()) == (False, [0, 1, 0, 0])
    assert only.null["topic_ids"].tolist() == [True, False, True, True]
    assert left_out(topics, 2) == {"removed": 1, "topics of another epoch": 2}
    assert np.array_equal(topics["topic_ids"], before)
