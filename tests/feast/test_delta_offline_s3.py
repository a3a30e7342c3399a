"""The offline store over tables in S3: the results of a disk, to the byte.

Tables are carried between disk and bucket as plain files, so that what one side wrote the other
reads.
"""

import json
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pytest
from delta_shop import KEPT, TIMES, USER, append, day, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, write_deltalake
from feast import FeatureView, Field, FileSource, PushSource
from feast.credentials import ConnectionRef
from feast.data_format import DeltaFormat
from feast.data_source import PushMode
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Int64, String
from pydantic import ValidationError

from benchmarks.s3_server import SECRET
from vidtopics.errors import TableError
from vidtopics.stores.delta import DeltaOfflineStoreConfig, pinned
from vidtopics.stores.delta import sources as delta_sources
from vidtopics.stores.delta import spines as delta_spines
from vidtopics.stores.delta import writing as delta_writing
from vidtopics.stores.delta.tables import dataset_of, open_table, options_for
from vidtopics.tables import pins as table_pins

ROWS = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4), ("late", 5, 20, 20))
SPINE = spine(("a", 9), ("b", 3), ("a", 2), ("c", 9))
INCOMES = [2, 3, 1, None]
NOBODY = "http://127.0.0.1:9"
"""An endpoint where nothing listens."""


class Bucket:
    """A bucket of the test's own, and copies of its tables on disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=name)

    @property
    def root(self) -> str:
        return f"s3://{self.name}/tables"

    def keys(self, table: str) -> list[str]:
        entries = self.client.list_objects_v2(Bucket=self.name, Prefix=f"tables/{table}/").get(
            "Contents", []
        )
        return [entry["Key"] for entry in entries]

    def lose(self, table: str, *, whole: bool) -> None:
        """Delete a table, and if `whole` the bucket."""
        for key in self.keys(table):
            self.client.delete_object(Bucket=self.name, Key=key)
        if whole:
            self.client.delete_bucket(Bucket=self.name)

    def take(self, folder: Path, table: str = "incomes") -> None:
        """Copy a table of the folder into the bucket, in place of what is there."""
        self.lose(table, whole=False)
        for file in filter(Path.is_file, (folder / table).rglob("*")):
            self.client.upload_file(str(file), self.name, f"tables/{file.relative_to(folder)}")

    def give(self, folder: Path, table: str = "incomes") -> DeltaTable:
        """Copy a table of the bucket into the folder, and open it there."""
        for key in self.keys(table):
            place = folder / key.removeprefix("tables/")
            place.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(self.name, key, str(place))
        return DeltaTable(folder / table)


@pytest.fixture
def bucket(s3_environment, request) -> Bucket:
    return Bucket(f"b{abs(hash(request.node.nodeid))}")


@pytest.fixture
def store(bucket, tmp_path):
    """ROWS, written on a disk and read from the bucket."""
    append(tmp_path / "disk", ROWS)
    bucket.take(tmp_path / "disk")
    return shop(tmp_path, root=bucket.root)


def job(store, frame=SPINE, **options):
    return store.get_historical_features(frame, ["incomes:income"], **options)


def seen(result: pa.Table) -> tuple:
    """A result, and its pins without the moment at which they were made."""
    pins = json.loads(result.schema.metadata[b"vidtopics.pins"])
    for pin in [*pins["views"].values(), *pins["entity_df"].values()]:
        del pin["pinned_us"]
    return result.replace_schema_metadata(), pins


def table_bytes(table: pa.Table) -> bytes:
    """The whole result, its schema and metadata included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


# --- reading ------------------------------------------------------------------------------------


def test_each_row_gets_what_held_at_its_time(store):
    assert values(job(store)) == INCOMES
    assert values(job(store, filter_by_created_timestamp=True)) == [2, None, 1, None]


def test_a_random_table_in_many_files_gives_what_it_gives_on_a_disk(bucket, tmp_path):
    rng = np.random.default_rng(3)
    rows = sorted(
        {(f"u{u}", e, e + d) for u, e, d in rng.integers(0, [20, 60, 5], (300, 3)).tolist()},
        key=str,
    )
    plain = [(user, n, event, created) for n, (user, event, created) in enumerate(rows)]
    disk = tmp_path / "disk"
    for part in range(5):
        append(disk, incomes(*plain[part::5]))
    bucket.take(disk)
    asked = spine(*[(f"u{u}", d / 2) for u, d in rng.integers(0, [22, 130], (200, 2)).tolist()])
    for options in ({}, {"ttl": timedelta(days=9)}):
        local, remote = (
            shop(disk, income_view(**options), root=root) for root in (str(disk), bucket.root)
        )
        for known_by in (False, True):
            results = [
                job(s, asked, filter_by_created_timestamp=known_by).to_arrow()
                for s in (local, remote)
            ]
            assert seen(results[0]) == seen(results[1])
            assert None in results[1]["income"].to_pylist()
            assert any(results[1]["income"].to_pylist())


def test_partitions_whose_names_need_quoting(bucket, tmp_path):
    users = ["a b", "ü/1", "100%", "a+b=c", "s3://x?y#z"]
    table = incomes(*[(user, n, 1, 1) for n, user in enumerate(users)])
    asked = spine(*[(user, 2) for user in users])
    append(tmp_path / "disk", table, partition_by=["user_id"])
    bucket.take(tmp_path / "disk")
    local, remote = (shop(tmp_path, root=root) for root in (str(tmp_path / "disk"), bucket.root))
    assert values(job(remote, asked)) == values(job(local, asked)) == [0, 1, 2, 3, 4]
    write_deltalake(f"{bucket.root}/written", table, partition_by=["user_id"])
    written = shop(tmp_path, income_view("written"), root=bucket.root)
    assert values(written.get_historical_features(asked, ["written:income"])) == [0, 1, 2, 3, 4]


SQL = "SELECT who AS user_id, seen AS event_timestamp FROM visits ORDER BY seen, who"


def test_a_select_and_a_range_are_spines(store, bucket, tmp_path):
    visits = {
        "who": ["b", "a", "c", "a"],
        "seen": pa.array([day(d) for d in (3, 2, 9, 9)], pa.timestamp("us", "UTC")),
    }
    write_deltalake(f"{bucket.root}/visits", pa.table(visits), configuration=KEPT)
    joined = job(store, SQL).to_arrow()
    assert (joined["user_id"].to_pylist(), joined["income"].to_pylist()) == (
        ["a", "b", "a", "c"],
        [1, 3, 2, None],
    )
    bucket.give(tmp_path / "disk", "visits")
    assert seen(job(shop(tmp_path, root=str(tmp_path / "disk")), SQL).to_arrow()) == seen(joined)
    joined = job(store, None, start_date=day(2), end_date=day(6)).to_arrow().to_pydict()
    assert joined == {
        "user_id": ["a", "b"],
        "event_timestamp": [day(5), day(2)],
        "income": [2, 3],
    }
    with pytest.raises(TableError, match="expected one SELECT over Delta tables below `root`"):
        job(store, f"SELECT * FROM '{bucket.root}/visits'")


def test_what_feast_materialises(store):
    view, offline = store.get_feature_view("incomes"), store._get_provider().offline_store
    call = (
        store.config,
        view.batch_source,
        ["user_id"],
        ["income"],
        *TIMES.values(),
        day(1),
        day(4.999),
    )
    latest = offline.pull_latest_from_table_or_query(*call).to_arrow().to_pylist()
    assert {r["user_id"]: r["income"] for r in latest} == {"a": 1, "b": 3}
    assert sorted(offline.pull_all_from_table_or_query(*call).to_arrow()["income"].to_pylist()) == [
        1,
        3,
    ]


def test_a_view_without_fields_takes_the_tables(store, bucket):
    source = FileSource(
        name="inferred", path=f"{bucket.root}/incomes", file_format=DeltaFormat(), **TIMES
    )
    store._get_provider().validate_data_source(store.config, source)
    store.apply([FeatureView(name="inferred", entities=[USER], source=source, ttl=timedelta(0))])
    assert values(store.get_historical_features(SPINE, ["inferred:income"])) == INCOMES


# --- pins ---------------------------------------------------------------------------------------


def test_a_pinned_version_gives_the_same_bytes(store, bucket, tmp_path):
    first = job(store).to_arrow()
    write_deltalake(
        f"{bucket.root}/incomes", incomes(("a", 100, 6, 30), ("c", 101, 8, 31)), mode="append"
    )
    assert values(job(store)) == [100, 3, 1, 101]
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)
    delta = DeltaTable(f"{bucket.root}/incomes")
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert len([key for key in bucket.keys("incomes") if key.endswith(".parquet")]) == 1
    with pinned(first):  # by the cut
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


def test_a_pinned_version_out_of_reach_is_not_taken_for_one_that_is_gone(
    store, bucket, monkeypatch
):
    """The newest version cut to the pin is a weaker promise than the version itself."""
    first = job(store).to_arrow()
    write_deltalake(f"{bucket.root}/incomes", incomes(("late", 6, 30, 30)), mode="append")
    opened = table_pins.DeltaTable

    def unreachable(uri, version=None, **options):
        raise OSError("error sending request")

    monkeypatch.setattr(table_pins, "DeltaTable", unreachable)
    with (
        pinned(first),
        pytest.raises(TableError, match=r"view incomes, s3://.*found error sending request"),
    ):
        job(store)
    monkeypatch.setattr(table_pins, "DeltaTable", opened)
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


# --- writing ------------------------------------------------------------------------------------


def test_pushed_rows_are_one_commit(bucket, tmp_path):
    append(tmp_path / "disk", ROWS)
    bucket.take(tmp_path / "disk")
    view = income_view()
    push = PushSource(name="pushed", batch_source=view.batch_source)
    fields = [Field(name="user_id", dtype=String), Field(name="income", dtype=Int64)]
    view = FeatureView(
        name="incomes", entities=[USER], schema=fields, source=push, ttl=timedelta(0)
    )
    store = shop(tmp_path, push, view, root=bucket.root)
    store.push("pushed", incomes(("a", 7, 6, 6), ("c", 8, 6, 6)).to_pandas(), to=PushMode.OFFLINE)
    assert values(job(store)) == [7, 3, 1, 8]
    copy = bucket.give(tmp_path / "copy")
    assert copy.version() == 1
    assert copy.history(1)[0]["operationMetrics"]["num_added_rows"] == 2
    assert seen(job(shop(tmp_path / "copy", root=str(tmp_path / "copy"))).to_arrow()) == seen(
        job(store).to_arrow()
    )


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_saved_dataset_comes_back(store, bucket, tmp_path):
    storage = SavedDatasetFileStorage(f"s3://{bucket.name}/tables/training", DeltaFormat())
    made = store.create_saved_dataset(
        job(store, SPINE.assign(label=[1, 0, 1, 0])), "training", storage
    )
    assert [None if v != v else v for v in made.to_df()["income"]] == INCOMES
    copy = bucket.give(tmp_path / "copy", "training")
    assert (
        copy.to_pyarrow_table().to_pydict()
        == job(store, SPINE.assign(label=[1, 0, 1, 0])).to_arrow().to_pydict()
    )
    with pinned(json.loads(copy.history(1)[0]["vidtopics.pins"])):
        assert values(job(store)) == INCOMES
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job(store).persist(storage)
    job(store, spine(("b", 9))).persist(storage, allow_overwrite=True)
    assert DeltaTable(f"{bucket.root}/training").to_pyarrow_table()["income"].to_pylist() == [3]


# --- how it is reached --------------------------------------------------------------------------


def test_what_the_store_says_is_stronger_than_the_environment(
    bucket, s3_environment, tmp_path, monkeypatch
):
    append(tmp_path / "disk", ROWS)
    bucket.take(tmp_path / "disk")
    for name in s3_environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", NOBODY)
    storage_options = {**s3_environment, "AWS_ALLOW_HTTP": True}  # as YAML reads it
    store = shop(tmp_path, root=bucket.root, storage_options=storage_options)
    assert values(job(store)) == INCOMES
    assert values(
        job(store, "SELECT user_id, event_timestamp FROM incomes WHERE user_id = 'b'")
    ) == [3]
    job(store).persist(SavedDatasetFileStorage("training", DeltaFormat()))
    store.write_to_offline_store("incomes", incomes(("c", 8, 6, 6)).to_pandas())
    assert values(job(store)) == [2, 3, 1, 8]
    first = job(store).to_arrow()
    store.write_to_offline_store("incomes", incomes(("c", 9, 7, 7)).to_pandas())
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


@pytest.mark.parametrize("alias", ["AWS_ENDPOINT_URL", "endpoint", "AWS_ENDPOINT_URL_S3"])
def test_the_endpoint_of_a_source_is_stronger_than_all(
    bucket, s3_environment, tmp_path, monkeypatch, alias
):
    append(tmp_path / "disk", ROWS)
    bucket.take(tmp_path / "disk")
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", NOBODY)
    endpoint = s3_environment["AWS_ENDPOINT_URL"]
    view = income_view(source={"s3_endpoint_override": endpoint})
    other = income_view("other", path="incomes")
    store = shop(
        tmp_path, view, other, root=bucket.root, storage_options={alias: NOBODY, "max_retries": 0}
    )
    assert values(job(store)) == INCOMES
    storage = SavedDatasetFileStorage("training", DeltaFormat(), s3_endpoint_override=endpoint)
    job(store).persist(storage)
    # One path on two endpoints is two tables.
    with pytest.raises(TableError, match=r"view other, s3://.*/tables/incomes: .*127.0.0.1:9/"):
        store.get_historical_features(
            SPINE, ["incomes:income", "other:income"], full_feature_names=True
        )


def test_an_endpoint_for_a_folder_is_refused(tmp_path):
    append(tmp_path, ROWS)
    store = shop(tmp_path, income_view(source={"s3_endpoint_override": NOBODY}))
    with pytest.raises(
        TableError, match=r"source incomes, s3_endpoint_override: expected a path .* s3://, found /"
    ):
        job(store)


def test_credentials_of_a_connection_ref(bucket, s3_environment, tmp_path, monkeypatch):
    reference = ConnectionRef(provider="env", name="AWS_SECRET")
    source = FileSource(
        path=f"{bucket.root}/incomes", file_format=DeltaFormat(), connection_ref=reference, **TIMES
    )
    config = shop(tmp_path, storage_options={"secret_access_key": "weaker", "timeout": "9s"}).config
    options = options_for(config, source.path, source)
    assert options == {"AWS_SECRET_ACCESS_KEY": SECRET, "timeout": "9s", "retry_timeout": "20s"}
    assert options_for(config, str(tmp_path), source) == {}


def test_options_are_plain_values():
    with pytest.raises(ValidationError):
        DeltaOfflineStoreConfig(storage_options={"timeout": ["9s"]})


# --- out of reach -------------------------------------------------------------------------------


def calls(store) -> list:
    """Whatever opens or writes a view's table, with how the error begins."""
    view, offline = store.get_feature_view("incomes"), store._get_provider().offline_store
    pull = (
        store.config,
        view.batch_source,
        ["user_id"],
        ["income"],
        *TIMES.values(),
        day(1),
        day(5),
    )
    return [
        ("view incomes", lambda: job(store)),
        ("view incomes", lambda: job(store, None, start_date=day(1), end_date=day(5))),
        ("view incomes", lambda: offline.offline_write_batch(store.config, view, ROWS, None)),
        ("source incomes", lambda: offline.pull_latest_from_table_or_query(*pull)),
        ("source incomes", lambda: offline.pull_all_from_table_or_query(*pull)),
        ("source incomes", lambda: offline.validate_data_source(store.config, view.batch_source)),
    ]


OUT_OF_REACH = {
    "bucket": (
        {"root": "s3://nobody-made-it"},
        "NoSuchBucket. Mend: correct the bucket in the source's path",
    ),
    "credentials": (
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_METADATA_ENDPOINT": NOBODY},
        "/latest/.* Mend: set AWS_ACCESS_KEY_ID",
    ),
    "endpoint": ({"AWS_ENDPOINT_URL": NOBODY}, "Connection refused.* Mend: correct the endpoint"),
    "no TLS": ({"AWS_ALLOW_HTTP": "false"}, "scheme is not allowed. Mend: .* AWS_ALLOW_HTTP=true"),
    "option": (
        {"storage_options": {"max_retries": "few"}},
        "parse config.*few.* Mend: correct that option in the environment",
    ),
    "value": ({"AWS_ALLOW_HTTP": "maybe"}, "maybe.* Mend: correct that option in the environment"),
    "scheme": ({"root": "s4://bucket"}, "Unknown scheme: s4.* Mend: correct the path"),
}


@pytest.mark.parametrize("case", OUT_OF_REACH)
def test_a_table_out_of_reach_is_named_with_the_mend(bucket, tmp_path, monkeypatch, case):
    settings, message = OUT_OF_REACH[case]
    offline = {"root": bucket.root, "storage_options": {"max_retries": 0}}
    for name, value in settings.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
        else:
            offline[name] = value
    store = shop(tmp_path, **offline)
    disk = tmp_path / "disk"
    append(disk, ROWS)
    on_disk = shop(disk, income_view(path=str(disk / "incomes")), **offline)
    storage = SavedDatasetFileStorage("training", DeltaFormat())
    asked = [
        *((f"{who}, {offline['root']}/incomes", call) for who, call in calls(store)),
        (f"entity_df, table visits, {offline['root']}/visits", lambda: job(on_disk, SQL)),
        (f"saved dataset, {offline['root']}/training", lambda: job(on_disk).persist(storage)),
    ]
    for where, call in asked:
        with pytest.raises(
            TableError, match=f"^{where}: expected a table within reach, found .*{message}"
        ) as caught:
            call()
        assert not {"\x1b", "\n", "?"} & set(str(caught.value))


def test_a_table_that_is_not_there_is_none(bucket, tmp_path):
    for who, call in calls(shop(tmp_path, root=bucket.root)):
        with pytest.raises(
            TableError, match=f"^{who}, {bucket.root}/incomes: expected a Delta table, found none"
        ):
            call()


@pytest.mark.parametrize(
    ("whole", "found"),
    [
        (True, "NoSuchBucket. Mend: correct the bucket"),
        (False, "(not found|NoSuchKey).* Mend: ask again: a vacuum"),
    ],
)
def test_a_table_that_goes_while_it_is_read_is_named(store, bucket, monkeypatch, whole, found):
    view, offline = store.get_feature_view("incomes"), store._get_provider().offline_store
    pull = (
        store.config,
        view.batch_source,
        ["user_id"],
        ["income"],
        *TIMES.values(),
        day(1),
        day(5),
    )
    begun = [
        ("view incomes", job(store)),
        ("source incomes", offline.pull_latest_from_table_or_query(*pull)),
        ("source incomes", offline.pull_all_from_table_or_query(*pull)),
    ]

    def open_and_lose(delta):
        bucket.lose("incomes", whole=whole)
        return dataset_of(delta)

    monkeypatch.setattr(delta_spines, "dataset_of", open_and_lose)
    with pytest.raises(
        TableError, match=rf"^entity_df, .*{bucket.root}/incomes.*{found}"
    ) as caught:
        job(store, "SELECT * FROM incomes")
    assert "\n" not in str(caught.value)
    for where, waiting in begun:
        with pytest.raises(
            TableError,
            match=f"^{where}, {bucket.root}/incomes: expected a table within reach.*{found}",
        ):
            waiting.to_arrow()


@pytest.mark.parametrize("what", ["range", "push"])
def test_a_bucket_that_goes_once_a_table_is_open_is_named(store, bucket, monkeypatch, what):
    opened_by = {"range": delta_sources, "push": delta_writing}[what]

    def open_and_lose(*args):
        delta = open_table(*args)
        bucket.lose("incomes", whole=True)
        return delta

    monkeypatch.setattr(opened_by, "open_table", open_and_lose)
    offline, view = store._get_provider().offline_store, store.get_feature_view("incomes")
    uses = {
        "range": lambda: job(store, None, start_date=day(1), end_date=day(5)),
        "push": lambda: offline.offline_write_batch(store.config, view, ROWS, None),
    }
    with pytest.raises(
        TableError, match=f"^view incomes, {bucket.root}/incomes: .*NoSuchBucket. Mend: correct"
    ):
        uses[what]()


def test_a_server_that_never_answers_is_given_up(s3_environment, tmp_path, monkeypatch):
    assert options_for(shop(tmp_path).config, "s3://bucket/incomes")["retry_timeout"] == "20s"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = shop(
            tmp_path,
            root="s3://bucket",
            storage_options={"timeout": "300ms", "retry_timeout": "0s"},
        )
        with pytest.raises(
            TableError,
            match=r"^view incomes, s3://bucket/incomes: .*timed out. Mend: correct the endpoint",
        ):
            job(store)
        assert attempts(silent) == 1  # delta-rs itself would try ten times more


def attempts(silent: socket.socket) -> int:
    """How many connections came to a server that takes none."""
    silent.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()
            count += 1
    return count
