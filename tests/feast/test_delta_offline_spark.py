"""Tables that Spark wrote, with its features: read right, or refused and read once mended."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_shop import append, income_view, incomes, shop, spine, values

from vidtopics.errors import TableError

pytestmark = pytest.mark.slow
ROWS = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4))
SPINE = spine(("a", 9), ("a", 2), ("b", 9), ("c", 9))


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    from vidtopics.jobs.session import session

    return session("offline-store", log=tmp_path_factory.mktemp("log") / "spark.log")


@pytest.fixture
def make(spark, tmp_path):
    """Writes ROWS as Spark does, with table properties."""

    def made(name: str, **properties: str):
        writer = spark.createDataFrame(ROWS.to_pandas()).coalesce(1).write.format("delta")
        for key, value in properties.items():
            writer = writer.option(f"delta.{key}", value)
        writer.save(str(tmp_path / name))
        return f"delta.`{tmp_path / name}`"

    return made


def joined(folder, name):
    return values(
        shop(folder, income_view(name)).get_historical_features(SPINE, [f"{name}:income"])
    )


@pytest.mark.parametrize("form", ["INT96", "TIMESTAMP_MICROS"])
def test_files_of_both_engines_in_one_table(spark, make, tmp_path, form):
    before = spark.conf.get("spark.sql.parquet.outputTimestampType")
    spark.conf.set("spark.sql.parquet.outputTimestampType", form)
    try:
        make("incomes")
    finally:
        spark.conf.set("spark.sql.parquet.outputTimestampType", before)
    (file,) = (tmp_path / "incomes").glob("*.parquet")
    assert pq.ParquetFile(file).schema.column(2).physical_type == {"INT96": "INT96"}.get(
        form, "INT64"
    )
    append(tmp_path, incomes(("c", 4, 3, 3), ("a", 5, 8, 8)))
    assert joined(tmp_path, "incomes") == [5, 1, 3, 4]


def test_deletion_vectors(spark, make, tmp_path):
    table = make("incomes", enableDeletionVectors="true")
    spark.sql(f"DELETE FROM {table} WHERE income = 2")
    with pytest.raises(
        TableError, match=r"incomes/: .* found the reader features deletionVectors.*APPLY \(PURGE\)"
    ):
        joined(tmp_path, "incomes")
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")
    spark.sql(f"REORG TABLE {table} APPLY (PURGE)")
    spark.sql(f"ALTER TABLE {table} DROP FEATURE deletionVectors")
    assert joined(tmp_path, "incomes") == [1, 1, 3, None]


def test_column_mapping(spark, make, tmp_path):
    table = make("incomes", **{"columnMapping.mode": "name"})
    spark.sql(f"ALTER TABLE {table} RENAME COLUMN income TO wealth")
    spark.sql(f"ALTER TABLE {table} RENAME COLUMN wealth TO income")
    with pytest.raises(TableError, match="found the reader features columnMapping"):
        joined(tmp_path, "incomes")


def test_a_type_that_spark_widened(spark, make, tmp_path):
    narrow = ROWS.set_column(1, "income", ROWS["income"].cast(pa.int32()))
    append(tmp_path, narrow)
    assert joined(tmp_path, "incomes") == [2, 1, 3, None]
    table = f"delta.`{tmp_path / 'incomes'}`"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    spark.sql(f"ALTER TABLE {table} ALTER COLUMN income TYPE BIGINT")
    with pytest.raises(TableError, match=r"found the reader features .*typeWidening"):
        joined(tmp_path, "incomes")
