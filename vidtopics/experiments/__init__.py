"""Experiments on real traffic: assignment by hash, and the analysis of an experiment's log.

What a service calls at request time (:func:`bucket`, :func:`arm`) needs the standard library alone;
the analysis (`vidtopics.experiments.analysis`) needs numpy, scipy and DuckDB (docs/experiments.md).
"""

from vidtopics.experiments.bucketing import arm, bucket

__all__ = ["arm", "bucket"]
