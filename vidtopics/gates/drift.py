r"""Drift of a distribution against the last release: the population stability index.

.. math:: PSI = \sum_{b=1}^{B} (a_b - e_b) \ln \frac{a_b}{e_b}

with e the shares of B bins in the last release and a those in the candidate (Siddiqi, *Credit Risk
Scorecards*, 2006, chapter 8: below .1 little, from .25 on a change to act on). A number's bins end
at the last release's deciles, equal ones once; nulls and NaN are a bin of their own. An ID is its
own bin. No bin is empty: 1/2 is added to each count, so that a bin which comes or goes weighs by
its size and gives no infinity.

Two samples of one distribution have a PSI of about (B - 1)(1/N + 1/M) by chance (Yurdakul,
*Statistical Properties of Population Stability Index*, 2018): a limit applies only from 20 rows a
bin on (`gates.least_keys`), where that is a tenth at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidtopics.contracts import Table
from vidtopics.gates.verdicts import Figure
from vidtopics.gates.versions import Releases, is_number

Counts = npt.NDArray[np.int64]
# Numbers that only tell rows apart.
NO_FEATURES = ("topic_epoch", "user_topic_epoch", "met_epoch", "component", "queue_position")
DECILES = np.arange(1, 10) / 10


def stability_index(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """PSI of two rows of counts over the same bins.

    >>> round(stability_index([50, 50], [50, 50]), 3), round(stability_index([50, 50], [90, 10]), 3)
    (0.0, 0.853)
    """
    shares = [(n + 0.5) / (n.sum() + 0.5 * n.size) for n in map(np.asarray, (expected, actual))]
    e, a = shares
    return float(((a - e) * np.log(a / e)).sum())


def decile_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Upper ends of the bins, rising: the deciles of `values` without NaN; float64[9] at most.

    >>> decile_edges(np.array([0, 0, 0, 1, np.nan])).tolist()
    [0.0, 1.0]
    """
    numbers = values[~np.isnan(values)]
    if not numbers.size:
        return np.empty(0)
    return np.unique(np.quantile(numbers, DECILES, method="inverted_cdf"))


def bin_counts(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> Counts:
    """How many values lie in each bin (edge before, edge]; int64[edges + 2], the last one NaN.

    >>> bin_counts(np.array([0, 1, 2, np.nan]), np.array([0, 1])).tolist()
    [1, 1, 1, 1]
    """
    bins = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values))
    counts: Counts = np.bincount(bins, minlength=len(edges) + 2)
    return counts


def number_drift(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> tuple[float, int]:
    """PSI of a numeric feature over the bins of its last release, and the number of bins."""
    edges = decile_edges(before)
    expected, actual = bin_counts(before, edges), bin_counts(after, edges)
    if not expected[-1] + actual[-1]:
        expected, actual = expected[:-1], actual[:-1]  # no NaN, no bin of it
    return stability_index(expected, actual), len(expected)


def drift_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """PSI of every numeric feature over all live keys; its keys are those that moved most."""
    old, new = releases.old(table), releases.new(table)
    names = [c.name for c in table.values if is_number(c) and c.name not in NO_FEATURES]
    for name in names:
        before, after = _numbers(releases, old, name), _numbers(releases, new, name)
        move = f"abs(CAST(n.{name} AS DOUBLE) - CAST(o.{name} AS DOUBLE))"
        query = (
            f"SELECT n.key_text FROM {new} n JOIN {old} o USING ({', '.join(table.key)})"
            f" ORDER BY {move} DESC NULLS LAST, 1"
        )
        rows = min(before.size, after.size)
        drift, bins = number_drift(before, after) if rows else (None, 1)
        yield Figure(
            f"{table.name}.{name}.psi",
            drift,
            rows // bins,
            "" if before.size else releases.nothing_before(table),
            partial(releases.keys, query),
            unit="rows a bin",
        )


def _numbers(releases: Releases, rows: str, name: str) -> npt.NDArray[np.float64]:
    """A column as float64[rows]; null is NaN."""
    query = f"SELECT CAST({name} AS DOUBLE) AS number FROM {rows}"
    column: pa.ChunkedArray = releases.con.sql(query).to_arrow_table()["number"]
    values: npt.NDArray[np.float64] = column.to_numpy()
    return values
