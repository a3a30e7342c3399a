"""Where a pair gives something else than the behaviour that the contract suite asks for.

Each entry becomes a strict xfail: a test that passes although it is named here fails, and so does
one that fails without being named.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from feast_pairs import Pair


@dataclass(frozen=True)
class Difference:
    """What a pair gives instead, and why."""

    gives: str
    reason: str


EXPECTED_DIFFERENCES: dict[tuple[str, str], Difference] = {
    ("a_spine_may_be_a_select", "duckdb+*"): Difference(
        "AttributeError", "Feast's DuckDB store takes a DataFrame alone as its spine"
    ),
    ("a_range_of_time_gives_every_row_of_it", "duckdb+*"): Difference(
        "TypeError", "Feast's DuckDB store has no reads without a spine"
    ),
    ("a_range_of_time_includes_both_ends", "duckdb+*"): Difference(
        "TypeError", "Feast's DuckDB store has no reads without a spine"
    ),
    ("a_view_without_entities_is_materialised", "duckdb+*"): Difference(
        "ValueError", "Feast's DuckDB store adds no key to rows of a view without entities"
    ),
    ("a_batch_view_is_computed_from_columns_that_are_no_fields", "duckdb+*"): Difference(
        "KeyError", "Feast's DuckDB store reads keys and times alone for a transformation"
    ),
    ("a_saved_dataset_has_its_on_demand_features", "duckdb+*"): Difference(
        "IbisTypeError", "Feast's DuckDB store saves a result without its on-demand features"
    ),
    **{
        (f"{behaviour}[dated files]", "duckdb+*"): Difference(
            "BinderException", "Feast's DuckDB store doesn't hand on the date that it divides by"
        )
        for behaviour in (
            "written_logs_are_read_by_time",
            "logs_are_validated_against_a_saved_dataset",
        )
    },
    **{
        (f"{behaviour}[delta]", "duckdb+*"): Difference(
            "AssertionError", "Feast's DuckDB store writes logs to its own destination alone"
        )
        for behaviour in (
            "written_logs_are_read_by_time",
            "logs_are_validated_against_a_saved_dataset",
        )
    },
    ("logs_keep_their_dates", "duckdb+*"): Difference(
        "no column __log_date", "Feast's DuckDB store leaves the date out of what it reads"
    ),
    ("a_correction_at_the_same_event_time_replaces_the_value", "*+redis"): Difference(
        "the old value", "Feast's Redis store drops a row whose event time it has seen"
    ),
    ("a_feature_may_end_in_any_way[_y]", "duckdb+*"): Difference(
        "IbisTypeError", "Feast's DuckDB store takes the suffix for one that its join adds"
    ),
    ("an_entity_that_was_never_written_is_not_found", "*+redis"): Difference(
        "PRESENT", "Feast's Redis store gives a null with the status PRESENT"
    ),
    ("a_value_past_its_ttl_is_outside_max_age", "*+redis"): Difference(
        "PRESENT", "Feast's Redis store doesn't judge the TTL of a view"
    ),
    ("a_null_id_leaves_the_other_rows_alone", "*+redis"): Difference(
        "TypeError", "Feast sorts a request's rows by their ids, which a null can't take part in"
    ),
    ("a_correction_at_the_same_event_time_wins", "*+redis"): Difference(
        "the old value", "Feast's Redis store drops a row whose event time it has seen"
    ),
    ("what_is_materialised_of_a_view_without_entities_is_read", "duckdb+*"): Difference(
        "ValueError", "Feast's DuckDB store adds no key to rows of a view without entities"
    ),
    ("what_is_pushed_to_a_view_without_entities_is_read", "*+redis"): Difference(
        "null", "Feast files a push to a view without entities under an empty key"
    ),
    ("documents_that_are_nearest_are_found", "*+redis"): Difference(
        "NotImplementedError", "Feast's Redis store has no search of vectors"
    ),
}
"""By behaviour and pair. A behaviour is a test's name without `test_`, with its parameters but the
pair in brackets if one alone differs; a pair may have a wildcard: `duckdb+*`."""


def difference_of(behaviour: str, pair: Pair) -> Difference | None:
    """The entry for a behaviour on a pair; None where it has to be as the suite asks."""
    plain = behaviour.partition("[")[0]
    for (name, pattern), difference in EXPECTED_DIFFERENCES.items():
        if name in (behaviour, plain) and fnmatch(str(pair), pattern):
            return difference
    return None
