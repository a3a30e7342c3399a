"""Connections to one DuckDB: what one names is not there for another, nor after its end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest

from vidtopics.tables.scratch import scratch


def total(values: list[int]) -> int:
    """The sum of values by a registered relation, a temporary table and a temporary view."""
    with scratch() as con:
        con.register("rows", pa.table({"n": values}))
        con.execute("CREATE TEMP TABLE changes AS SELECT n FROM rows")
        con.execute("CREATE TEMP VIEW summed AS SELECT CAST(sum(n) AS BIGINT) AS s FROM changes")
        if len(values) > 1:
            assert total(values[1:]) == sum(values[1:])  # one within the other
        return int(con.sql("SELECT s FROM summed").fetchall()[0][0])


def test_connections_in_each_other_and_in_threads_have_names_of_their_own():
    lists = [[i, *range(3)] for i in range(16)]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(total, lists)] == [sum(values) for values in lists]
    with scratch() as con, pytest.raises(duckdb.CatalogException):
        con.sql("FROM changes")


def test_times_are_utc_and_the_instance_is_one():
    with scratch() as one, scratch() as other:
        setting = "SELECT current_setting('TimeZone')"
        assert [con.sql(setting).fetchall() for con in (one, other)] == [[("UTC",)]] * 2
        one.execute("CREATE TABLE shared_by_all AS SELECT 1 AS n")
        assert other.sql("FROM shared_by_all").fetchall() == [(1,)]
        one.execute("DROP TABLE shared_by_all")
