"""Opening Delta tables for the offline store: where they lie and how they are reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from feast import FileSource, RepoConfig

from vidtopics.errors import TableError, explain
from vidtopics.faults import without_stack
from vidtopics.paths import addressable, is_url
from vidtopics.tables.scans import scan

BOUNDS = {"retry_timeout": "20s"}
"""Options of delta-rs for every object store: a server that never answers is given up after 30
seconds, not after three minutes."""
S3 = ("s3", "s3a")
EXCERPT = 200
"""Characters of either end of an error that are repeated."""
OPTIONS = "in the environment, or in `storage_options` of the offline store"
DAMAGED = (
    r"deserialize thrift|[Pp]arquet (magic|file size)|Unexpected end of stream|Corrupt|decompress"
)
"""What Arrow says of a file that is cut short or spoilt."""
# What an error says, and what to do about it; the first that fits.
MENDS = {
    "NoSuchBucket": "correct the bucket in the source's path, or in `root` of the offline store",
    "/latest/|Missing (AccessKeyId|SecretAccessKey)": (
        f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY {OPTIONS}"
    ),
    "AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|401 Unauth|403 Forb": (
        "correct the credentials, or their rights to the bucket"
    ),
    "scheme is not allowed": f"for an endpoint without TLS set AWS_ALLOW_HTTP=true {OPTIONS}",
    "parse config|Config error": f"correct that option {OPTIONS}",
    DAMAGED: "restore the damaged file from a copy, or write the table again",
    "Unknown scheme": "correct the path, or `root` of the offline store",
    "error sending request": (
        "correct the endpoint (AWS_ENDPOINT_URL, s3_endpoint_override), or wait until it answers"
    ),
    "No such file|not found": "ask again: a vacuum removed files of this version",
}


@dataclass(frozen=True)
class Place:
    """Where a table lies. `options`: of delta-rs for its object store, none for a folder."""

    uri: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def storage_options(self) -> dict[str, str] | None:
        """As delta-rs takes them."""
        return dict(self.options) or None


def place_of(config: RepoConfig, path: str, source: FileSource | None = None) -> Place:
    """Where a path leads; a relative one lies below `root` of the offline store.

    `root` is relative to the repository.
    """
    uri = _uri(config, path)
    return Place(uri, tuple(sorted(options_for(config, uri, source).items())))


def options_for(config: RepoConfig, uri: str, source: FileSource | None = None) -> dict[str, str]:
    """Options of delta-rs to reach a URI; none for a folder.

    What they don't name it takes from the environment.

    Of one option the last wins: bounds in time, `storage_options` of the offline store, the
    source's connection_ref and s3_endpoint_override.

    Raises:
        TableError: the source names an endpoint of S3, and lies elsewhere.
    """
    scheme, endpoint = urlsplit(uri).scheme, source.s3_endpoint_override if source else ""
    if endpoint and scheme not in S3:
        raise TableError(
            explain(
                f"source {source and source.name}, s3_endpoint_override",
                expected="a path or `root` that begins with s3://",
                found=uri,
                mend="correct the path, or leave the endpoint out",
            )
        )
    if scheme in ("", "file"):
        return {}
    ours = {
        name: str(value)
        for name, value in getattr(config.offline_store, "storage_options", {}).items()
    }
    options = _over(BOUNDS, ours)
    options = _over(options, (source.resolve_credentials() or {}) if source else {})
    options = _over(options, {"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
    # The environment's AWS_ENDPOINT_URL_S3 would be stronger than any other name for it.
    named = [value for name, value in options.items() if _canonical(name) == "endpoint"]
    return options | ({"AWS_ENDPOINT_URL_S3": named[-1]} if named else {})


def open_table(place: Place, where: str, version: int | None = None) -> DeltaTable:
    """The table at a version, the newest by default.

    TableError where there is none or it is out of reach; `where` says who asked.
    """
    with reaching(place, where):
        try:
            return DeltaTable(place.uri, version=version, storage_options=place.storage_options)
        except TableNotFoundError as error:
            if "Unknown scheme" in str(error):
                raise
            raise TableError(
                explain(
                    f"{where}, {place.uri}",
                    expected="a Delta table",
                    found="none",
                    mend="run the job that writes it, or correct the path or `root` in "
                    "feature_store.yaml",
                )
            ) from None


@contextmanager
def reaching(place: Place, where: str) -> Iterator[None]:
    """TableError for what delta-rs and Arrow raise where a table is out of reach or damaged.

    `where` says who asked.
    """
    try:
        yield
    except (OSError, DeltaError) as error:
        raise out_of_reach(f"{where}, {place.uri}", error) from error
    except pa.ArrowInvalid as error:
        if not re.search(DAMAGED, str(error)):
            raise
        raise out_of_reach(f"{where}, {place.uri}", error) from error


def out_of_reach(where: str, error: Exception) -> TableError:
    """What an error of delta-rs, Arrow or a server means for a user."""
    text = one_line(error)
    mend = next(
        (mend for mark, mend in MENDS.items() if re.search(mark, text)), "correct what it names"
    )
    short = text if len(text) <= 2 * EXCERPT else f"{text[:EXCERPT]} ... {text[-EXCERPT:]}"
    return TableError(explain(where, expected="a table within reach", found=short, mend=mend))


def one_line(error: Exception) -> str:
    r"""An error in one line: without colours, stack, or what may be secret in URLs.

    Of an answer in XML its code.

    >>> answer = "GET http://u:p@h/b?list-type=2 in 2ms\n <Error><Code>NoSuchBucket</Code></Error>"
    >>> one_line(OSError(f"S3 error\n \x1b[31m↳\x1b[0m {answer}"))
    'S3 error: GET http://h/b in 2ms NoSuchBucket'
    """
    text = re.sub(r"\x1b\[[\d;]*m", "", without_stack(error))
    text = re.sub(r"(<\?xml.*|<Error>.*)<Code>(\w+)</Code>.*", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
    text = re.sub(r"(https?://)[^/@\s]*@", r"\1", text)
    text = re.sub(r"\s*\n\s*↳\s*", ": ", text)
    return " ".join(text.split()) or type(error).__name__


def dataset_of(delta: DeltaTable) -> ds.FileSystemDataset:
    """The snapshot's files in the order of their names; TableError as of `scan`.

    How the log lists them may change with a checkpoint.
    """
    dataset = scan(delta)
    ordered = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
    return ds.FileSystemDataset(ordered, dataset.schema, dataset.format, dataset.filesystem)


def _uri(config: RepoConfig, path: str) -> str:
    if is_url(path):
        return path
    root = getattr(config.offline_store, "root", "")
    if is_url(root) and not Path(path).is_absolute():
        return f"{root.rstrip('/')}/{path}"
    return str(addressable(Path(config.repo_path or ".") / root / path, "source path"))


def _over(options: Mapping[str, str], stronger: Mapping[str, str]) -> dict[str, str]:
    """Both; of an option that both name, under whatever of its names, the stronger."""
    taken = {_canonical(name) for name in stronger}
    return {name: value for name, value in options.items() if _canonical(name) not in taken} | dict(
        stronger
    )


def _canonical(name: str) -> str:
    """An option's name without the parts that delta-rs lets be left out.

    >>> _canonical("AWS_ENDPOINT_URL"), _canonical("aws_region")
    ('endpoint', 'region')
    """
    return name.lower().removeprefix("aws_").removesuffix("_s3").removesuffix("_url")
