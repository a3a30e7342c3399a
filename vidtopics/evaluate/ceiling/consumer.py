"""What a consumer of a simulated world's log knows of each impression, and what is planted.

Features are of what came before an impression alone: the user's earlier impressions, and the
videos' counts before its UTC day.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import special

from vidtopics.evaluate.ceiling.log import Floats, Ints, Log, earlier, kernel_sums
from vidtopics.rates import Prior, smoothed_ctr
from vidtopics.simulation import World
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import drift
from vidtopics.simulation.responses import (
    AGE_DAYS,
    AGE_WEIGHT,
    APPEAL_WEIGHT,
    POSITION_DECAY,
    new_state,
)

SHRINKAGES = (0.5, 2.0, 10.0, 40.0)
BANDWIDTHS = (4.0, 10.0)
"""Of the kernels exp(b (cos - 1)) over topic centres and over tastes."""
PRIOR_EXPOSURES = 10.0
RANDOM_SHARE = 0.35
"""Of videos whose topic another one replaces: as bad as a poor topic model."""
TRAIN_SHARE = 0.8


class Consumer:
    """The features of a world's impressions by what a consumer knows: [N, F] each."""

    def __init__(self, world: World, log: Log, seed: int = 0) -> None:
        self.world, self.log = world, log
        self.random = np.random.default_rng(seed)
        self.trains = log.shown_at < np.quantile(log.shown_at, TRAIN_SHARE)
        self.topic: Ints = world.items.topic

    @cached_property
    def video_counts(self) -> tuple[Floats, Floats]:
        """Exposures and clicks of each impression's video before its UTC day."""
        log, videos = self.log, self.world.settings.videos
        start = start_of(self.world.settings)
        day = (log.shown_at - start) // DAY
        known = (log.clicked_at[log.clicked] - start) // DAY
        days = int(max(day.max(), known.max())) + 1
        exposures = np.bincount(day * videos + log.video, minlength=days * videos)
        clicks = np.bincount(known * videos + log.video[log.clicked], minlength=days * videos)
        before = [
            np.cumsum(counts.reshape(days, videos), axis=0) - counts.reshape(days, videos)
            for counts in (exposures, clicks)
        ]
        return before[0][day, log.video].astype(float), before[1][day, log.video].astype(float)

    @cached_property
    def rate(self) -> Floats:
        """Smoothed click rate of the video before the day; its prior is that of what trains."""
        exposures, clicks = self.video_counts
        prior = Prior(float(self.log.clicked[self.trains].mean()), PRIOR_EXPOSURES)
        return smoothed_ctr(clicks, exposures, prior)

    @cached_property
    def outcomes(self) -> Floats:
        """Of each impression: click less expected, its variance, 1, click; [N, 4]."""
        clicked, position, trains = self.log.clicked, self.log.position, self.trains
        at = np.bincount(position[trains], clicked[trains]) / np.bincount(position[trains])
        lift = at / clicked[trains].mean()
        expected = np.clip(self.rate * lift[position], 0.01, 0.99)
        return np.column_stack(
            [clicked - expected, expected * (1 - expected), np.ones(len(clicked)), clicked]
        )

    def base(self) -> Floats:
        """What a consumer without topics knows."""
        log, world = self.log, self.world
        exposures = self.video_counts[0]
        age = (log.shown_at - world.items.published[log.video]) / DAY
        own = earlier(log.user, self.outcomes)
        same = earlier(log.user * world.settings.videos + log.video, self.outcomes)
        position = np.eye(world.settings.slate)[log.position, 1:]
        return np.column_stack(
            [
                special.logit(self.rate),
                np.log1p(exposures),
                exposures == 0,
                np.log2(1 + age / AGE_DAYS),
                position,
                np.log1p(own[:, 2:]),
                _shrunken(own),
                np.log1p(same[:, 2:]),
                same[:, 2] > 0,
            ]
        )

    def counts(self, code: Ints) -> Floats:
        """The user's earlier impressions and clicks in the same class of `code` [V]."""
        return np.log1p(self._same(code)[:, 2:])

    def shares(self, code: Ints) -> Floats:
        """The share of the user's earlier clicks in it, alone and times log clicks."""
        clicks = earlier(self.log.user, self.outcomes[:, 3:])
        share = self._same(code)[:, 3:] / (1 + clicks)
        return np.hstack([share, share * np.log1p(clicks)])

    def residuals(self, *codes: Ints) -> Floats:
        """The user's residual over earlier impressions of the same class, for each of `codes`."""
        return np.hstack([_shrunken(self._same(code)) for code in codes])

    def kernels(self, code: Ints, vectors: Floats) -> Floats:
        """Sum of K (y - p) over sum of K p (1 - p) + c, at each c, K = exp(b (cos - 1)).

        `code` [V] is the row of unit `vectors` [C, D] that stands for a video.
        """
        cosines = vectors @ vectors.T
        return np.hstack(
            [
                _shrunken(
                    kernel_sums(
                        self.log.user,
                        code[self.log.video],
                        self.outcomes[:, :2],
                        np.exp(bandwidth * (cosines - 1)),
                    )
                )
                for bandwidth in BANDWIDTHS
            ]
        )

    def topic_kernels(self, topic: Ints) -> Floats:
        """The kernels over the centres of `topic` [V]."""
        return self.kernels(topic, self.world.classes.centres)

    def taste_kernels(self) -> Floats:
        """The kernels over the videos' own tastes, which their hidden sides are part of."""
        taste = self.world.items.taste.astype(float)
        return self.kernels(np.arange(len(taste)), taste)

    def oracle(self) -> Floats:
        """Log-odds of a click as the world has it, without fatigue, seen-penalty and pull."""
        log, world = self.log, self.world
        state, affinity = new_state(world.users, 0), np.empty(len(log.user))
        for day in range(world.settings.days):
            if day:
                drift(world, state, day)
            rows = log.day == day
            user, taste = log.user[rows], world.items.taste[log.video[rows]]
            cosine = np.einsum("nmk,nk->nm", state.interests[user], taste).astype(float)
            logits = state.log_weights[user] + world.settings.sharpness * (cosine - 1)
            affinity[rows] = special.logsumexp(logits, axis=1)
        age = (log.shown_at - world.items.published[log.video]) / DAY
        logit = affinity + APPEAL_WEIGHT * world.items.appeal[log.video]
        logit += world.users.bias[log.user] - AGE_WEIGHT * np.log2(1 + age / AGE_DAYS)
        return special.logit((log.position + 1.0) ** -POSITION_DECAY * special.expit(logit))[
            :, None
        ]

    def permuted(self) -> Ints:
        """Topics [V] dealt to the videos anew."""
        return self.random.permutation(self.topic)

    def partly_random(self) -> Ints:
        """Topics [V], of which :data:`RANDOM_SHARE` are those of other videos."""
        wrong = self.random.random(len(self.topic)) < RANDOM_SHARE
        return np.where(wrong, self.permuted(), self.topic)

    def _same(self, code: Ints) -> Floats:
        key = self.log.user * (int(code.max()) + 1) + code[self.log.video]
        return earlier(key, self.outcomes)


def _shrunken(sums: Floats) -> Floats:
    """R / (V + c) at each shrinkage c, from sums [N, 2 or more] of residuals and variances."""
    shrunken: Floats = sums[:, :1] / (sums[:, 1:2] + np.array(SHRINKAGES))
    return shrunken
