"""Where Structured Streaming reads events: a folder that files come into, or topics of Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyspark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vidtopics.errors import InputError, SettingsError, explain
from vidtopics.jobs.event_messages import Format
from vidtopics.paths import from_uri, is_url, to_spark

CONNECTOR = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{pyspark.__version__}"
PROVIDER = "org.apache.spark.sql.kafka010.KafkaSourceProvider"
"""A class of the connector."""
KAFKA = "kafka://"
FILES: dict[Format, str] = {"json": "*.{jsonl,ndjson,json}", "parquet": "*.parquet"}
"""Names of the files that are read; others stay."""
FILE = "path string, modificationTime timestamp, length bigint, content binary"
MAX_FILE_AGE = "3650d"
"""Of a file, beside the newest: Spark passes over older ones without a word, after 7 days if not
told otherwise."""
BATCH_FILES, BATCH_MESSAGES = 100, 50_000


@dataclass(frozen=True)
class Files:
    """A folder, into which whole files are moved; each is read once, by its name.

    Attributes:
        folder: a path, or an address that Spark reads.
        encoding: what its files hold.
    """

    folder: str
    encoding: Format
    packages: ClassVar[Mapping[str, str]] = {}

    def read(self, spark: SparkSession, batch: int | None) -> DataFrame:
        """`value` (binary: a line, or a whole file) and `place`, at most `batch` files at a time.

        Raises:
            InputError: there is no such folder.
        """
        if not is_url(self.folder) and not from_uri(self.folder).is_dir():
            raise InputError(
                explain(
                    self.folder,
                    expected="a folder",
                    found="a file" if Path(self.folder).exists() else "nothing",
                    mend="make it, or correct the path; `vidtopics events replay` sends one file",
                )
            )
        is_text = self.encoding == "json"
        reader = spark.readStream.format("text" if is_text else "binaryFile")
        reader = reader.schema("value string" if is_text else FILE)
        options = {
            "maxFilesPerTrigger": str(batch or BATCH_FILES),
            "maxFileAge": MAX_FILE_AGE,
            "pathGlobFilter": FILES[self.encoding],
        }
        rows = reader.options(**options).load(to_spark(self.folder))
        value = F.col("value").cast("binary") if is_text else F.col("content")
        return rows.select(value.alias("value"), F.col("_metadata.file_name").alias("place"))


@dataclass(frozen=True)
class Kafka:
    """Topics of Kafka, from their beginning or a time on where there is no checkpoint.

    Attributes:
        servers: `host:port,host:port`.
        topics: with commas between them.
        encoding: what a message is.
        properties: of Kafka's client, as TLS and SASL need them.
        since_ms: Unix milliseconds; of each partition what came later is read.
    """

    servers: str
    topics: str
    encoding: Format
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    since_ms: int | None = None
    packages: ClassVar[Mapping[str, str]] = {CONNECTOR: PROVIDER}

    def read(self, spark: SparkSession, batch: int | None) -> DataFrame:
        """`value` (binary) and `place` (topic-partition@offset), at most `batch` at a time.

        Messages that were deleted before they were read end the query.
        """
        options = {
            "kafka.bootstrap.servers": self.servers,
            "subscribe": self.topics,
            "maxOffsetsPerTrigger": str(batch or BATCH_MESSAGES),
            "startingOffsets": "earliest",
        }
        if self.since_ms is not None:
            options |= {
                "startingTimestamp": str(self.since_ms),
                "startingOffsetsByTimestampStrategy": "latest",
            }
        options |= {f"kafka.{name}": value for name, value in self.properties.items()}
        rows = spark.readStream.format("kafka").options(**options).load()
        place = F.format_string("%s-%d@%d", "topic", "partition", "offset")
        return rows.select("value", place.alias("place"))


Source = Files | Kafka


def source_of(
    text: str,
    encoding: Format = "json",
    *,
    properties: Mapping[str, str] | None = None,
    since_ms: int | None = None,
) -> Source:
    """What an address names: `kafka://host:9092,host:9092/topic,topic`, else a folder.

    Raises:
        SettingsError: it has no servers or topics, or the source has no such encoding or option.

    >>> source_of("kafka://a:9092,b:9092/events").topics
    'events'
    >>> source_of("s3a://bucket/events", "parquet")
    Files(folder='s3a://bucket/events', encoding='parquet')
    """
    if not text.startswith(KAFKA):
        if encoding == "arrow" or properties or since_ms is not None:
            raise _no_such(text, "--format json or parquet, and no option of Kafka, for a folder")
        return Files(text, encoding)
    servers, _, topics = text.removeprefix(KAFKA).partition("/")
    if not servers or not topics or set("@/?# ") & set(servers + topics):
        raise SettingsError(
            explain(
                "the source",
                expected="kafka://HOST:PORT,.../TOPIC,...",
                found="another address",
                mend="correct it; user and password go into the file of --kafka-config",
            )
        )
    if encoding == "parquet":
        raise _no_such(text, "--format json or arrow for a topic")
    return Kafka(servers, topics, encoding, properties or {}, since_ms)


def _no_such(text: str, expected: str) -> SettingsError:
    return SettingsError(
        explain(text, expected=expected, found="another", mend="correct the option")
    )


def read_properties(spark: SparkSession, path: Path) -> dict[str, str]:
    """The keys and values of a file in Java's format, as Kafka's own tools take it.

    Raises:
        InputError: it can't be read.
    """
    jvm: Any = spark.sparkContext._jvm
    properties = jvm.java.util.Properties()
    try:
        properties.load(jvm.java.io.StringReader(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            explain(
                str(path),
                expected="a file of Kafka's client properties",
                found=getattr(error, "strerror", None) or "text in another encoding than UTF-8",
                mend="correct the path or the file",
            )
        ) from None
    return {str(name): str(properties[name]) for name in properties}
