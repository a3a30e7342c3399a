"""The three spines, and what can be wrong with one."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from delta_shop import KEPT, TIMES, USER, append, day, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, WriterProperties, write_deltalake
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Int64, String

from vidtopics.errors import TableError
from vidtopics.stores.delta import pinned

ROWS = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4), ("late", 5, 20, 20))


@pytest.fixture
def store(tmp_path):
    append(tmp_path, ROWS)
    return shop(tmp_path)


def job(store, frame, **options):
    return store.get_historical_features(frame, ["incomes:income"], **options)


# --- SQL ----------------------------------------------------------------------------------------


@pytest.fixture
def visits(tmp_path):
    """A log without any view: who came when."""
    table = pa.table(
        {
            "who": ["b", "a", "c", "a"],
            "seen": pa.array([day(d) for d in (3, 2, 9, 9)], pa.timestamp("us", "UTC")),
        }
    )
    write_deltalake(tmp_path / "visits", table, configuration=KEPT)


SQL = "SELECT who AS user_id, seen AS event_timestamp, 7 AS seven FROM visits ORDER BY seen, who"


def test_a_select_is_a_spine(store, visits):
    joined = job(store, SQL).to_arrow()
    assert joined.column_names == ["user_id", "event_timestamp", "seven", "income"]
    assert joined.select(["user_id", "income"]).to_pydict() == {
        "user_id": ["a", "b", "a", "c"],
        "income": [1, 3, 2, None],
    }


def test_a_select_may_have_names_of_its_own_and_join(store, visits):
    sql = """
        WITH richest AS (SELECT user_id, max(income) AS most FROM incomes GROUP BY user_id)
        SELECT user_id, TIMESTAMP '2026-01-03' AS event_timestamp, most
        FROM richest JOIN (SELECT DISTINCT who AS user_id FROM visits) USING (user_id)
        ORDER BY user_id
    """
    joined = job(store, sql).to_arrow().to_pydict()
    assert (joined["user_id"], joined["most"], joined["income"]) == (["a", "b"], [2, 3], [1, 3])
    assert (
        joined["event_timestamp"] == [datetime(2026, 1, 3, tzinfo=UTC)] * 2
    )  # without a zone: UTC


def test_the_tables_of_a_select_are_pinned_too(store, visits, tmp_path):
    first = job(store, SQL).to_arrow()
    pins = json.loads(first.schema.metadata[b"vidtopics.pins"])
    assert pins["entity_df"]["visits"]["version"] == 0
    write_deltalake(
        tmp_path / "visits",
        pa.table({"who": ["late"], "seen": pa.array([day(30)], pa.timestamp("us", "UTC"))}),
        mode="append",
    )
    with pinned(first):
        assert job(store, SQL).to_arrow() == first
        with pytest.raises(
            TableError,
            match="entity_df, table incomes: expected a pin whose version opens, found none",
        ):
            job(store, "SELECT user_id, event_timestamp FROM incomes")
        delta = DeltaTable(tmp_path / "visits")
        delta.optimize.compact()
        delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
        with pytest.raises(
            TableError, match=r"entity_df, table visits: .* found version 0, which is gone"
        ):
            job(store, SQL)
    assert len(job(store, SQL).to_arrow()) == 5


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT * FROM nowhere", "entity_df, table nowhere, .*expected a Delta table"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("DROP TABLE visits", "Only SELECT statements"),
        ("SELEC 1", "syntax error"),
        ("SELECT who FROM visits", "expected a time column"),
        ("SELECT nobody FROM visits", "nobody"),
        ("SELECT * FROM read_csv('/etc/hostname')", "disabled"),
        ("SELECT * FROM '/etc/hostname'", "expected one SELECT over Delta tables"),
        ('SELECT * FROM "../elsewhere"', "expected one SELECT over Delta tables"),
        ("SELECT * FROM ROWS", "expected a Delta table"),
    ],
)
def test_what_is_no_select_over_the_tables_is_refused(store, visits, sql, found):
    with pytest.raises(TableError, match=found):
        job(store, sql)


# --- a range of time ----------------------------------------------------------------------------


def test_a_range_gives_each_entity_at_each_time_of_its_rows(store):
    result = job(store, None, start_date=day(2), end_date=day(6)).to_arrow().to_pydict()
    assert result == {
        "user_id": ["a", "b"],
        "event_timestamp": [day(5), day(2)],
        "income": [2, 3],
    }
    result = job(store, None, start_date=day(1), end_date=day(6)).to_arrow().to_pydict()
    assert result == {
        "user_id": ["a", "a", "b"],
        "event_timestamp": [day(1), day(5), day(2)],
        "income": [1, 2, 3],
    }
    result = job(store, None, start_date=day(2.5), end_date=day(4)).to_arrow()
    assert len(result) == 0
    assert result.column_names == ["user_id", "event_timestamp", "income"]


def test_a_range_gives_one_row_for_equal_times(tmp_path):
    append(tmp_path, incomes(("a", 1, 1, 1), ("a", 2, 1, 2), (None, 3, 1, 1), ("b", 4, 2, 2)))
    result = job(shop(tmp_path), None, start_date=day(0), end_date=day(4)).to_arrow().to_pydict()
    assert (result["user_id"], result["income"]) == (["a", "b"], [2, 4])


def test_a_value_of_a_range_is_that_which_was_known_by_its_end(tmp_path):
    """Day 3's correction changes what held on day 1; a range that ends before can't know it."""
    append(tmp_path, incomes(("a", 1, 1, 2), ("a", 9, 1, 3)))
    store = shop(tmp_path, known_by=True)
    assert values(job(store, None, start_date=day(0), end_date=day(2.5))) == [1]
    assert values(job(store, None, start_date=day(0), end_date=day(3))) == [9]
    assert values(job(store, None, start_date=day(0), end_date=day(1.5))) == []


def test_several_values_of_a_range_are_those_that_were_known_by_its_end(tmp_path):
    rows = [("a", 1, 1, 2), ("a", 9, 1, 30), ("a", 2, 4, 4), ("a", 3, 5, 7), ("b", 4, 2, 6)]
    append(tmp_path, incomes(*rows))
    result = job(shop(tmp_path, known_by=True), None, start_date=day(0), end_date=day(6))
    assert list(zip(*result.to_arrow().to_pydict().values(), strict=True)) == [
        ("a", day(1), 1),
        ("a", day(4), 2),
        ("b", day(2), 4),
    ]


def test_a_range_knows_only_what_was_known_by_its_end(store):
    joined = job(
        store, None, start_date=day(1), end_date=day(3), filter_by_created_timestamp=True
    ).to_arrow()
    assert joined["user_id"].to_pylist() == ["a"]  # b's row of day 2 became known on day 4


def test_a_range_without_a_start_goes_back_by_the_longest_ttl(tmp_path):
    append(tmp_path, ROWS)
    store = shop(tmp_path, income_view(ttl=timedelta(days=3)))
    assert job(store, None, end_date=day(6)).to_arrow()["user_id"].to_pylist() == ["a"]
    assert job(store, None, end_date=day(5)).to_arrow()["user_id"].to_pylist() == ["a", "b"]


def test_a_range_over_views_of_other_entities_has_nulls(tmp_path):
    shop_entity = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
    append(tmp_path, ROWS)
    append(
        tmp_path,
        incomes(("s", 9, 2, 2), name="sales").rename_columns(
            ["shop_id", "sales", "event_timestamp", "created_timestamp"]
        ),
        "sales",
    )
    store = shop(
        tmp_path,
        income_view(),
        income_view("sales", feature="sales", entities=[shop_entity]),
        shop_entity,
    )
    joined = store.get_historical_features(
        None, ["incomes:income", "sales:sales"], start_date=day(2), end_date=day(3)
    ).to_arrow()
    rows = {(r["user_id"], r["shop_id"]): (r["income"], r["sales"]) for r in joined.to_pylist()}
    assert rows == {("b", None): (3, None), (None, "s"): (None, 9)}


def test_a_range_is_made_again_from_its_pins(store, tmp_path):
    first = job(store, None, start_date=day(1), end_date=day(6)).to_arrow()
    append(tmp_path, incomes(("new", 9, 3, 30)))
    delta = DeltaTable(tmp_path / "incomes")
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pinned(first):
        assert (
            job(store, None, start_date=day(1), end_date=day(6))
            .to_arrow()
            .equals(first, check_metadata=True)
        )


# --- frames -------------------------------------------------------------------------------------


def test_an_empty_spine_gives_typed_columns(store):
    empty = job(store, spine()).to_arrow()
    assert len(empty) == 0
    assert empty.schema.field("income").type == pa.int64()
    assert (
        job(store, "SELECT user_id, event_timestamp FROM incomes WHERE false").to_arrow().num_rows
        == 0
    )


def test_an_empty_table_gives_nulls(tmp_path):
    append(tmp_path, incomes())
    assert values(job(shop(tmp_path), spine(("a", 9), ("b", 1)))) == [None, None]


def test_a_spine_of_unknown_users_gives_nulls(store):
    assert values(job(store, spine(("x", 9), ("y", 1)))) == [None, None]


def test_repeated_rows_stay_as_many_and_labels_beside_them(store):
    frame = spine(("a", 9), ("a", 9), ("b", 9), ("a", 9)).assign(label=[1, 0, 1, 0])
    joined = job(store, frame).to_df()
    assert joined["label"].tolist() == [1, 0, 1, 0]
    assert joined["income"].tolist() == [2, 2, 3, 2]


def test_null_keys_and_null_times_match_nothing(tmp_path):
    table = incomes(("a", 1, 1, 1), ("a", 2, 1, 1))
    nothing = pa.array([None, "a"], pa.string())
    append(tmp_path, table.set_column(0, "user_id", nothing))
    times = pa.array(
        [None, day(1)], pa.timestamp("us", "UTC")
    )  # in one file: its statistics alone don't leave the null out
    append(
        tmp_path, incomes(("c", 7, 1, 1), ("d", 8, 1, 1)).set_column(2, "event_timestamp", times)
    )
    frame = pd.DataFrame(
        {
            "user_id": [None, "a", "a", "c"],
            "event_timestamp": pd.to_datetime([day(3), day(3), pd.NaT, day(3)], utc=True),
        }
    )
    assert values(job(shop(tmp_path), frame)) == [None, 2, None, None]


def test_a_row_without_a_created_time_is_known_to_nobody(tmp_path):
    table = incomes(("a", 1, 1, 1), ("a", 2, 2, 2))
    created = pa.array([day(1), None], pa.timestamp("us", "UTC"))
    append(tmp_path, table.set_column(3, "created_timestamp", created))
    store = shop(tmp_path)
    assert values(job(store, spine(("a", 9)))) == [2]
    assert values(job(store, spine(("a", 9)), filter_by_created_timestamp=True)) == [1]


@pytest.mark.parametrize("past", [False, True], ids=["after 1970", "before 1970"])
def test_nanoseconds_are_rounded_down_and_come_back_as_they_were(tmp_path, past):
    """A row at t holds from t on; a spine 1 ns before t is before it."""
    at = pd.Timestamp(
        "1969-07-20T20:17:40.000001" if past else "2026-01-02T00:00:00.000001", tz="UTC"
    )
    row = {"user_id": ["a"], "income": [1], "event_timestamp": [at], "created_timestamp": [at]}
    append(
        tmp_path,
        pa.Table.from_pandas(
            pd.DataFrame(row).astype(dict.fromkeys(TIMES.values(), "datetime64[us, UTC]"))
        ),
    )
    times = pd.to_datetime([at.value - 1, at.value, at.value + 999, at.value - 1_000], utc=True)
    joined = job(
        shop(tmp_path), pd.DataFrame({"user_id": ["a"] * 4, "event_timestamp": times})
    ).to_arrow()
    assert joined["income"].to_pylist() == [None, 1, 1, None]
    assert joined["event_timestamp"].cast(pa.int64()).to_pylist() == times.asi8.tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_spines_of_any_unit(store, unit):
    frame = spine(("a", 5), ("a", 4))
    frame["event_timestamp"] = frame["event_timestamp"].astype(f"datetime64[{unit}, UTC]")
    assert values(job(store, frame)) == [2, 1]


def test_times_as_text_and_under_another_name(store):
    text = pd.DataFrame({"user_id": ["a"], "event_timestamp": ["2026-01-06T02:00:00+02:00"]})
    assert values(job(store, text)) == [2]
    named = spine(("a", 5)).rename(columns={"event_timestamp": "clicked_at"})
    joined = job(store, named).to_arrow()
    assert joined.column_names == ["user_id", "clicked_at", "income"]
    assert joined["income"].to_pylist() == [2]
    two = named.assign(seen_at=named["clicked_at"])
    with pytest.raises(TableError, match="expected a time column"):
        job(store, two)


def test_naive_times_of_a_table_are_utc(tmp_path):
    naive = pa.timestamp("us")
    table = pa.table(
        {
            **{c: ROWS[c] for c in ("user_id", "income")},
            **{c: ROWS[c].cast(naive) for c in TIMES.values()},
        }
    )
    append(tmp_path, table)
    assert values(job(shop(tmp_path), spine(("a", 5), ("a", 4.999)))) == [2, 1]


def test_a_table_without_a_created_column(tmp_path):
    append(tmp_path, ROWS.drop_columns(["created_timestamp"]))
    store = shop(tmp_path, income_view(source={"created_timestamp_column": ""}))
    first = job(store, spine(("a", 5), ("b", 2)), filter_by_created_timestamp=True).to_arrow()
    assert first["income"].to_pylist() == [2, 3]
    append(tmp_path, incomes(("b", 9, 1, 1)).drop_columns(["created_timestamp"]))
    with pinned(first):
        assert job(store, spine(("a", 5), ("b", 2))).to_arrow().equals(first, check_metadata=True)


# --- keys and names -----------------------------------------------------------------------------


def test_composite_keys_stay_apart(tmp_path):
    keys = [
        Entity(name=n, join_keys=[f"{n}_id"], value_type=ValueType.STRING)
        for n in ("left", "right")
    ]
    rows = incomes(("1", 1, 1, 1), ("12", 2, 1, 1)).rename_columns(
        ["left_id", "income", "event_timestamp", "created_timestamp"]
    )
    append(tmp_path, rows.append_column("right_id", pa.array(["23", "3"])))
    store = shop(tmp_path, income_view(entities=keys), *keys)
    frame = (
        spine(("12", 2), ("1", 2), ("1", 2))
        .rename(columns={"user_id": "left_id"})
        .assign(right_id=["3", "23", "3"])
    )
    assert values(job(store, frame)) == [2, 1, None]


@pytest.mark.parametrize("kind", ["int32", "Int64", "float64"])
def test_number_keys_of_another_width(tmp_path, kind):
    number = Entity(name="number", join_keys=["n"], value_type=ValueType.INT64)
    table = incomes(("a", 1, 1, 1), ("b", 2, 1, 1)).set_column(0, "n", pa.array([1, 2]))
    append(tmp_path, table)
    source = FileSource(path="incomes", file_format=DeltaFormat(), **TIMES)
    view = FeatureView(
        name="incomes",
        entities=[number],
        schema=[Field(name="n", dtype=Int64), Field(name="income", dtype=Int64)],
        source=source,
        ttl=timedelta(0),
    )
    store = shop(tmp_path, view, number)
    frame = pd.DataFrame({"n": pd.array([2, 1, 3], kind), "event_timestamp": [day(2)] * 3})
    assert values(job(store, frame)) == [2, 1, None]
    with pytest.raises(TableError, match="entity_df, column n: expected values that are int64"):
        job(store, frame.assign(n=["2", "1", "3"])).to_arrow()
    with pytest.raises(TableError, match="entity_df, column n: expected values that are int64"):
        job(store, frame.assign(n=[2.5, 1.0, 3.0])).to_arrow()


def test_categories_are_text(store):
    frame = spine(("a", 5), ("b", 5))
    assert values(job(store, frame.assign(user_id=frame["user_id"].astype("category")))) == [2, 3]


def test_names_that_clash_are_refused_by_name(tmp_path):
    append(tmp_path, ROWS)
    append(tmp_path, ROWS, "others")
    store = shop(tmp_path, income_view(), income_view("others"))
    with pytest.raises(Exception, match="income"):  # Feast's own refusal
        store.get_historical_features(spine(("a", 5)), ["incomes:income", "others:income"])
    joined = store.get_historical_features(
        spine(("a", 5)), ["incomes:income", "others:income"], full_feature_names=True
    ).to_arrow()
    assert joined.column_names[2:] == ["incomes__income", "others__income"]
    with pytest.raises(TableError, match="view incomes: expected new column names, found income"):
        job(store, spine(("a", 5)).assign(income=1)).to_arrow()


def test_one_view_under_two_names_and_keys(tmp_path):
    append(tmp_path, ROWS)
    view = income_view()
    store = shop(tmp_path, view)
    projections = [
        view.with_name("buyer").with_join_key_map({"user_id": "buyer_id"}),
        view.with_name("seller").with_join_key_map({"user_id": "seller_id"}),
    ]
    deals = FeatureService(name="deals", features=projections)
    store.apply([deals])
    frame = (
        spine(("a", 5), ("b", 5))
        .rename(columns={"user_id": "buyer_id"})
        .assign(seller_id=["b", "a"])
    )
    joined = store.get_historical_features(frame, deals, full_feature_names=True).to_arrow()
    assert joined["buyer__income"].to_pylist() == [2, 3]
    assert joined["seller__income"].to_pylist() == [3, 2]


def test_a_view_without_entities_joins_by_time_alone(tmp_path):
    append(tmp_path, incomes(("", 1, 1, 1), ("", 2, 5, 5)).drop_columns(["user_id"]), "weather")
    store = shop(tmp_path, income_view("weather", entities=[]))
    frame = spine(("a", 9), ("b", 2), ("c", 0)).drop(columns="user_id")
    assert values(store.get_historical_features(frame, ["weather:income"])) == [2, 1, None]
    joined = store.get_historical_features(
        None, ["weather:income"], start_date=day(1), end_date=day(3)
    ).to_arrow()
    assert joined.to_pydict() == {"event_timestamp": [day(1)], "income": [1]}


def test_mapped_keys_fields_and_times(tmp_path):
    """The table has its own names; `event_timestamp` is what it calls the time of writing."""
    append(
        tmp_path,
        incomes(("a", 1, 1, 1), ("a", 2, 5, 5)).rename_columns(
            ["user", "n", "at", "event_timestamp"]
        ),
    )
    source = FileSource(
        path="incomes",
        file_format=DeltaFormat(),
        field_mapping={"n": "income", "user": "user_id", "at": "held_from"},
        timestamp_field="held_from",
        created_timestamp_column="event_timestamp",
    )
    fields = [Field(name="user_id", dtype=String), Field(name="income", dtype=Int64)]
    store = shop(
        tmp_path,
        FeatureView(
            name="incomes", entities=[USER], schema=fields, source=source, ttl=timedelta(0)
        ),
    )
    assert values(job(store, spine(("a", 4), ("a", 6)))) == [1, 2]
    assert values(job(store, None, start_date=day(0), end_date=day(4))) == [1]
    store._get_provider().offline_store.validate_data_source(store.config, source)


def test_a_field_that_the_table_lacks_is_named(tmp_path):
    append(tmp_path, ROWS)
    store = shop(tmp_path, income_view(feature="wealth"))
    with pytest.raises(
        TableError, match="view incomes: expected the columns wealth, found user_id, income"
    ):
        store.get_historical_features(spine(("a", 5)), ["incomes:wealth"]).to_arrow()


def test_a_random_table_in_many_files_and_row_groups_is_read_at_the_right_places(tmp_path):
    """Payload is read by place in the pruned files: each value must be that of its own row.

    The value says user, event and created.
    """
    rng = np.random.default_rng(3)
    rows = {(f"u{u}", e, e + d) for u, e, d in rng.integers(0, [40, 60, 5], (3_000, 3)).tolist()}
    number_of_row = {row: n for n, row in enumerate(sorted(rows, key=lambda r: (r[1], r[0], r[2])))}
    plain = [(u, n, e, c) for (u, e, c), n in number_of_row.items()]
    for part in range(5):  # by event, so that files and row groups can be left out
        append(
            tmp_path,
            incomes(*plain[part * len(plain) // 5 : (part + 1) * len(plain) // 5]),
            writer_properties=WriterProperties(max_row_group_size=64),
        )
    asked = [(f"u{u}", d / 2) for u, d in rng.integers(0, [42, 90], (500, 2)).tolist()]

    def oracle(user, at, known_by):
        held = [r for r in rows if r[0] == user and r[1] <= at and (not known_by or r[2] <= at)]
        return number_of_row[max(held, key=lambda r: r[1:])] if held else None

    store = shop(tmp_path)
    for known_by in (False, True):
        incomes_joined = values(job(store, spine(*asked), filter_by_created_timestamp=known_by))
        assert incomes_joined == [oracle(user, at, known_by) for user, at in asked]
