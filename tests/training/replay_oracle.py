"""The frame's definitions in plain Python: loops over all rows, nothing sorted or shared."""

import math

import numpy as np
from frame_worlds import value_at

DAY = 86_400_000_000
SHRINKAGES = (0.5, 2.0, 10.0, 40.0)


def entries(w):
    """Dicts of impressions: known and clicked from strictly after their own times on."""
    clicks = {i: (at, created) for i, at, created in w.clicks}
    rows = []
    for i, user, video, t, created in w.impressions:
        known = max(t + 1, created)
        at, click_known = clicks.get(i, (None, math.inf))
        clicked = math.inf if at is None else max(at + 1, click_known, known)
        rows.append({"id": i, "user": user, "video": video, "t": t, "known": known})
        rows[-1] |= {"clicked": clicked, "click_at": at}
    return rows


def expected(log, entry, prior):
    """The smoothed rate of the entry's video, as its day began."""
    morning = entry["t"] - entry["t"] % DAY
    shown = [e for e in log if e["known"] <= morning]
    clicks = [e for e in log if e["clicked"] <= morning]
    rate = len(clicks) / len(shown) if shown else 0
    n, c = (sum(e["video"] == entry["video"] for e in part) for part in (shown, clicks))
    return (c + prior * rate) / (n + prior)


def statistics(log, user, t, prior, half_life):
    """Exposures, clicks, expected clicks; the same decayed."""
    state = np.zeros(6)
    for e in log:
        if e["user"] != user:
            continue
        p = expected(log, e, prior)
        if e["known"] <= t:
            weight = 2 ** (-(t - e["t"]) / half_life)
            state += [1, 0, p, weight, 0, weight * p]
        if e["clicked"] <= t:
            state += [0, 1, 0, 0, 2 ** (-(t - e["click_at"]) / half_life), 0]
    return state


def window(log, user, t, limit):
    """The user's newest entries before t, newest first: (video, clicked as known), known ones."""
    entries_of_user = sorted((e["t"], e["id"], n) for n, e in enumerate(log) if e["user"] == user)
    newest = [log[n] for at, _, n in entries_of_user if at < t][-limit:][::-1]
    return [(e["video"], e["clicked"] <= t) for e in newest if e["known"] <= t]


def first_topic(w, entry):
    """(topic, since): that as known when it was shown, or the first one that came to be known."""
    times = sorted({max(event, created) for _, event, created, _ in w.topics})
    for t in [entry["t"], *(t for t in times if t > entry["t"])]:
        value = value_at(w.topics, entry["video"], t)
        if value is not None:
            return value, t
    return None, math.inf


def topic_counts(w, log, user, t, prior):
    """Topic -> [exposures, clicks, expected] of the user's entries; every video has one topic."""
    counts = {}
    for e in log:
        topic, since = first_topic(w, e)
        if e["user"] != user or topic is None or max(since, e["known"]) > t:
            continue
        state = counts.setdefault(topic, np.zeros(3))
        state += [1, e["clicked"] <= t, expected(log, e, prior)]
    return counts


def match(counts, topic):
    """Exposures, clicks and residuals at each shrinkage of one topic."""
    if topic not in counts:
        return np.zeros(6)
    n, c, p = counts[topic]
    variance = max(p * (1 - p / n), 0)
    return np.array([n, c, *((c - p) / (variance + s) for s in SHRINKAGES)])
