"""The log of an experiment: users with their arms, and what they did by day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.experiments.declaration import DAY_US, FILE, Experiment
from vidtopics.experiments.estimates import Codes, Floats
from vidtopics.experiments.reading import connect, find_file, identifier, load_table, read_header

UNASSIGNED = "of users without an assignment"
_USERS = """
CREATE TABLE assigned AS
  SELECT user_id, min(arm) AS arm, count(DISTINCT arm) AS arms, min(assigned_at) AS assigned_at,
    min(stratum) AS stratum FROM assignment GROUP BY user_id;
CREATE TABLE member AS
  SELECT CAST(row_number() OVER (ORDER BY user_id) - 1 AS BIGINT) AS u,
    user_id, arm, assigned_at, stratum
  FROM assigned WHERE arms = 1"""
_STATE = """
CASE WHEN assigned.user_id IS NULL THEN '{unassigned}'
  WHEN assigned.arms > 1 THEN 'of users in two arms'
  WHEN time < {first} THEN 'before {window}'
  WHEN time >= {last} THEN 'after {window}'
  WHEN time < assigned.assigned_at THEN 'before the assignment of their user'
  ELSE 'counted' END"""


@dataclass(frozen=True)
class Log:
    """An experiment's log, of N users in one arm each, D days and P days before.

    * `user_ids`: their ids, in order; `arm`: int64[N] place among the declared arms; `stratum`:
      int64[N], and `strata`: what the numbers mean.
    * `daily`: float64[N, D] totals of each outcome column by day; `pre_daily`: float64[N, P].
    * `first_outcome`, `first_exposure`: int64[N] day of the first event, from 0, D where there is
      none; without an exposure file `first_exposure` is None.
    * `rows`: of each file, rows by what became of them.
    * `last_event_us`: the latest event of the experiment's days; None where there is none.
    * `in_two_arms`, `unassigned`: ids of users with several arms, and of users with events and no
      assignment.
    * `concurrent`: int64[N] by other test, place among its arms, -1: not in it; and the arms.
    """

    user_ids: list[str]
    arm: Codes
    stratum: Codes
    strata: list[str]
    daily: dict[str, Floats]
    pre_daily: dict[str, Floats]
    first_outcome: Codes
    first_exposure: Codes | None
    rows: dict[str, dict[str, int]]
    last_event_us: int | None
    in_two_arms: list[str]
    unassigned: list[str]
    concurrent: dict[str, tuple[Codes, list[str]]]

    def is_active(self, days: int) -> NDArray[np.bool_]:
        """bool[N]: exposed in the first `days` days; without an exposure file: with an outcome."""
        first = self.first_outcome if self.first_exposure is None else self.first_exposure
        return first < days


def read_log(experiment: Experiment, folder: Path) -> Log:
    """The log in `folder`, as `experiment` names its files and columns.

    Raises:
        InputError: a file is missing or has a row that can't be read, or a user's arm isn't
            declared.
    """
    with connect() as connection:
        _load_assignment(connection, experiment, folder)
        members = _arrow(connection, "FROM member ORDER BY u")
        user_ids = members["user_id"].to_pylist()
        strata = sorted(set(members["stratum"].to_pylist()))
        codes = {name: code for code, name in enumerate(strata)}
        places = {name: place for place, name in enumerate(experiment.arms)}
        files = {
            name: _load_events(connection, experiment, folder, name)
            for name in ("exposure", "outcomes", "pre_outcomes")
        }
        rows, shape = {}, (len(user_ids), experiment.days)
        first, last = experiment.start_us, experiment.start_us + experiment.days * DAY_US
        for name in (name for name, is_there in files.items() if is_there):
            window = (first, last, "the experiment")
            if name == "pre_outcomes":
                window = (first - experiment.pre_days * DAY_US, first, "the pre-period")
            rows[name] = _classify(connection, name, *window)
        days = (experiment.start_us, shape)
        exposed = _first_days(connection, "exposure", *days) if files["exposure"] else None
        pre_daily = {}
        if files["pre_outcomes"]:
            pre_shape, pre_first = (
                (shape[0], experiment.pre_days),
                first - experiment.pre_days * DAY_US,
            )
            pre_daily = _daily(connection, "pre_outcomes", experiment.values, pre_first, pre_shape)
        return Log(
            user_ids=user_ids,
            arm=np.array([places[arm] for arm in members["arm"].to_pylist()], np.int64),
            stratum=np.array([codes[name] for name in members["stratum"].to_pylist()], np.int64),
            strata=strata,
            daily=_daily(connection, "outcomes", experiment.values, first, shape),
            pre_daily=pre_daily,
            first_outcome=_first_days(connection, "outcomes", *days),
            first_exposure=exposed,
            rows=rows,
            last_event_us=_last_event(connection, files),
            in_two_arms=_texts(
                connection, "SELECT user_id FROM assigned WHERE arms > 1 ORDER BY 1"
            ),
            unassigned=_unassigned(connection, files),
            concurrent=_concurrent(connection, experiment, folder, shape[0]),
        )


def read_pre_period(experiment: Experiment, folder: Path) -> tuple[list[str], dict[str, Floats]]:
    """User ids, and float64[N, P] totals by day, of all users with an event in the pre-period.

    Raises:
        InputError: the pre-period's file is missing, empty, or has a row that can't be read.
    """
    last = experiment.start_us
    first = last - experiment.pre_days * DAY_US
    with connect() as connection:
        if not _load_events(connection, experiment, folder, "pre_outcomes"):
            raise _missing(folder, "pre_outcomes")
        connection.execute(
            "CREATE TABLE pre_outcomes_counted AS SELECT dense_rank() OVER (ORDER BY user_id) - 1"
            f" AS u, * FROM pre_outcomes WHERE time >= {first} AND time < {last}"
        )
        ids = "SELECT DISTINCT user_id FROM pre_outcomes_counted ORDER BY 1"
        user_ids = _texts(connection, ids)
        if not user_ids:
            raise InputError(
                explain(
                    f"{folder}, pre_outcomes",
                    expected=f"events in the {experiment.pre_days} days before {experiment.start}",
                    found="none",
                    mend="deliver them, or correct `start` and `pre_days` in experiment.yaml",
                )
            )
        shape = (len(user_ids), experiment.pre_days)
        return user_ids, _daily(connection, "pre_outcomes", experiment.values, first, shape)


def _missing(folder: Path, name: str) -> InputError:
    mend = f"deliver {name}.csv, .jsonl or .parquet, or name it under `files` in {FILE}"
    return InputError(explain(str(folder), expected=f"a file {name}", found="none", mend=mend))


def _load_assignment(
    connection: duckdb.DuckDBPyConnection, experiment: Experiment, folder: Path
) -> None:
    path = find_file(folder, "assignment", experiment.files)
    if path is None:
        raise _missing(folder, "assignment")
    columns = experiment.columns.get("assignment", {})
    kinds = {"user_id": "text", "arm": "text", **dict.fromkeys(experiment.strata, "label")}
    if columns.get("assigned_at", "assigned_at") in read_header(connection, path):
        kinds["assigned_at"] = "time"
    load_table(connection, "assignment", path, kinds, columns)
    if "assigned_at" not in kinds:
        connection.execute("ALTER TABLE assignment ADD COLUMN assigned_at BIGINT")
    names = "concat_ws(', ', {})".format(", ".join(map(identifier, experiment.strata)))
    stratum = names if experiment.strata else "'all'"
    connection.execute(
        "ALTER TABLE assignment ADD COLUMN stratum VARCHAR;"
        f"UPDATE assignment SET stratum = {stratum}"
    )
    arms = _texts(connection, "SELECT DISTINCT arm FROM assignment ORDER BY 1")
    if unknown := [arm for arm in arms if arm not in experiment.arms]:
        raise InputError(
            explain(
                str(path),
                expected=f"the arms {', '.join(experiment.arms)}",
                found=", ".join(unknown[:5]),
                mend=f"declare them under `arms` in {FILE}, or leave their users out",
            )
        )
    connection.execute(_USERS)


def _load_events(
    connection: duckdb.DuckDBPyConnection, experiment: Experiment, folder: Path, name: str
) -> bool:
    """Load a file of events; False where it is missing and may be."""
    path = find_file(folder, name, experiment.files)
    if path is None:
        if name == "outcomes":
            raise _missing(folder, name)
        return False
    kinds = {"user_id": "text", "time": "time"}
    if name != "exposure":
        kinds |= dict.fromkeys(experiment.values, "amount")
    columns = experiment.columns.get(name)
    if columns is None and name == "pre_outcomes":  # written as outcomes are
        columns = experiment.columns.get("outcomes")
    load_table(connection, name, path, kinds, columns or {})
    return True


def _classify(
    connection: duckdb.DuckDBPyConnection, name: str, first: int, last: int, window: str
) -> dict[str, int]:
    """Keep rows of members within the window as NAME_counted; rows by what became of them.

    A pre-period lies before the assignment, so that its rows need not come after it.
    """
    state = _STATE.format(unassigned=UNASSIGNED, first=first, last=last, window=window)
    if name == "pre_outcomes":
        state = state.replace("time < assigned.assigned_at", "false")
    connection.execute(
        f"CREATE TABLE {name}_stated AS SELECT event.*, {state} AS state FROM {name} event"
        " LEFT JOIN assigned USING (user_id);"
        f"CREATE TABLE {name}_counted AS SELECT u, event.* FROM {name}_stated event"
        " JOIN member USING (user_id) WHERE state = 'counted'"
    )
    sql = f"SELECT state, count(*) FROM {name}_stated GROUP BY 1 ORDER BY 1"
    rows = {state: int(count) for state, count in connection.execute(sql).fetchall()}
    _check_any(connection, name, rows, f"after {window}")
    return rows


def _check_any(
    connection: duckdb.DuckDBPyConnection, name: str, rows: dict[str, int], after: str
) -> None:
    """InputError where no row can ever be counted: ids or times are written in another way."""
    if rows.keys() == {UNASSIGNED}:
        sql = f"SELECT min(user_id) FROM {name} UNION ALL SELECT min(user_id) FROM assigned"
        event, member = (text for (text,) in connection.execute(sql).fetchall())
        raise InputError(
            explain(
                f"{name}, user_id",
                expected=f"users of the assignment, as {member!r}",
                found=f"none of them in {sum(rows.values()):,} rows, as {event!r}",
                mend="write ids alike in all files: they are compared as text",
            )
        )
    if rows.keys() <= {after, UNASSIGNED} and after in rows:
        sql = f"SELECT min(time) FROM {name}"
        [[earliest]] = connection.execute(sql).fetchall()
        year = 1970 + earliest / (365.25 * DAY_US)
        raise InputError(
            explain(
                f"{name}, time",
                expected=f"rows that don't all lie {after}",
                found=f"the first in the year {year:.0f}",
                mend=f"correct the dates in {FILE}, or the times: Unix times are seconds",
            )
        )


def _daily(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    values: list[str],
    first: int,
    shape: tuple[int, int],
) -> dict[str, Floats]:
    """float64[N, days] totals of each value by user and day since `first`."""
    sums = ", ".join(f"sum({identifier(value)}) AS {identifier(value)}" for value in values)
    table = _arrow(
        connection,
        f"SELECT u, (time - {first}) // {DAY_US} AS day, {sums} FROM {name}_counted GROUP BY ALL",
    )
    place = (table["u"].to_numpy(), table["day"].to_numpy())
    totals = {}
    for value in values:
        totals[value] = np.zeros(shape)
        totals[value][place] = table[value].to_numpy()
    return totals


def _first_days(
    connection: duckdb.DuckDBPyConnection, name: str, first: int, shape: tuple[int, int]
) -> Codes:
    """int64[N] day of each user's first event, the number of days where there is none."""
    users, length = shape
    table = _arrow(
        connection,
        f"SELECT u, (min(time) - {first}) // {DAY_US} AS day FROM {name}_counted GROUP BY u",
    )
    days = np.full(users, length, np.int64)
    days[table["u"].to_numpy()] = table["day"].to_numpy()
    return days


def _last_event(connection: duckdb.DuckDBPyConnection, files: dict[str, bool]) -> int | None:
    names = [name for name in ("exposure", "outcomes") if files[name]]
    times = [
        connection.execute(f"SELECT max(time) FROM {name}_counted").fetchall()[0][0]
        for name in names
    ]
    return max((int(time) for time in times if time is not None), default=None)


def _unassigned(connection: duckdb.DuckDBPyConnection, files: dict[str, bool]) -> list[str]:
    names = [name for name in ("exposure", "outcomes") if files[name]]
    parts = (
        f"SELECT DISTINCT user_id FROM {name}_stated WHERE state = '{UNASSIGNED}'" for name in names
    )
    return _texts(connection, f"{' UNION '.join(parts)} ORDER BY 1")


def _concurrent(
    connection: duckdb.DuckDBPyConnection, experiment: Experiment, folder: Path, users: int
) -> dict[str, tuple[Codes, list[str]]]:
    """Each member's arm in each test that ran at the same time."""
    tests = {}
    for number, (name, file) in enumerate(experiment.concurrent_tests.items()):
        path = find_file(folder, name, {name: file})
        assert path is not None
        columns = experiment.columns.get("assignment", {})
        table = f"other_{number}"
        load_table(connection, table, path, {"user_id": "text", "arm": "text"}, columns)
        arms = _texts(connection, f"SELECT DISTINCT arm FROM {table} ORDER BY 1")
        rows = _arrow(
            connection,
            f"SELECT u, min({table}.arm) AS arm FROM {table} JOIN member USING (user_id)"
            " GROUP BY u",
        )
        places = np.full(users, -1)
        places[rows["u"].to_numpy()] = np.searchsorted(arms, rows["arm"].to_pylist())
        tests[name] = (places.astype(np.int64), arms)
    return tests


def _arrow(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return connection.sql(sql).to_arrow_table()


def _texts(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql).fetchall()]
