"""The objects below an address, by the store library that delta-rs uses too (`obstore`).

Requests that a store refuses for the moment (503) or that a lost connection ends are made again by
the library, with growing pauses. Credentials are found by each platform's usual chain: variables of
the environment, workload identity, the machine's own role.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PreconditionError,
)
from obstore.store import LocalStore, from_url
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from vidtopics.errors import TableError, explain
from vidtopics.faults import without_stack
from vidtopics.files import sync
from vidtopics.storage.addresses import Address
from vidtopics.storage.fingerprints import PART, Digests, Fingerprint

if TYPE_CHECKING:
    from obstore import ObjectMeta, UpdateVersion
    from obstore.store import ObjectStore, RetryConfig

T = TypeVar("T")
Content = bytes | mmap.mmap
RETRIES: RetryConfig = {"max_retries": 10, "retry_timeout": timedelta(seconds=60)}
CONNECTIONS = 4
"""Parts of one object that are sent at a time."""
EXCERPT = 400
"""Characters of a store's answer that are repeated."""
# What an answer says, and what to do about it; the first that fits.
MENDS = {
    "NoSuchBucket": "correct the bucket, or make it",
    "/latest/|Missing (AccessKeyId|SecretAccessKey)|no .*credential": (
        "set the platform's credentials in the environment, as AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY"
    ),
    "AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|401 Unauth|403 Forb": (
        "correct the credentials, or their rights to the bucket"
    ),
    "[Aa]ccount must be|scheme is not allowed|builder error": (
        "name the account in the address; for an endpoint without TLS set AWS_ALLOW_HTTP=true"
    ),
    "Config error|failed to parse": "correct that variable of the environment",
    "error sending request|503|SlowDown|timed out": (
        "correct the endpoint (AWS_ENDPOINT_URL), or wait until it answers, and run it again"
    ),
}


def _is_cut_short(error: BaseException) -> bool:
    """Whether an answer's body ended early: the one failure that the library doesn't repeat."""
    return isinstance(error, GenericError) and "response body" in str(error)


_again = Retrying(
    retry=retry_if_exception(_is_cut_short),
    stop=stop_after_attempt(8),
    wait=wait_random(0, 0.5),
    reraise=True,
)


@dataclass(frozen=True)
class Listed:
    """An object as its store lists it: bytes, the store's tag of them if it has one, its time.

    `modified_ns`: by the store's clock, since 1970.
    """

    size: int
    tag: str | None
    modified_ns: int = field(default=0, compare=False)


class Objects:
    """The objects below an address; keys are relative to it, with slashes.

    A folder is read and written by the same library, so that both behave alike: an object is there
    as a whole or not at all, and :meth:`create` never replaces one. A folder that isn't there is
    made.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        with self._reaching():
            self._store = _open(address)

    def list(self, prefix: str = "") -> dict[str, Listed]:
        """All objects below a prefix (of whole segments), by key, in order."""
        folder = self.address.folder
        if folder is not None and not (folder / prefix).is_dir():
            return {}
        items = self._call(prefix, lambda: obstore.list(self._store, prefix or None).collect())
        return {
            item["path"]: _listed(item) for item in sorted(items, key=lambda item: item["path"])
        }

    def read(self, key: str) -> bytes:
        """An object's bytes; FileNotFoundError where there is none."""
        return self._call(key, lambda: bytes(obstore.get(self._store, key).bytes()))

    def read_listed(self, key: str) -> tuple[bytes, Listed] | None:
        """An object's bytes with how its store lists them, of one moment; None without one."""

        def get() -> tuple[bytes, Listed]:
            result = obstore.get(self._store, key)
            return bytes(result.bytes()), _listed(result.meta)

        try:
            return self._call(key, get)
        except FileNotFoundError:
            return None

    def read_at_most(self, key: str, max_bytes: int) -> bytes | None:
        """An object's bytes; None where it has more than that, of which nothing is read.

        Raises:
            FileNotFoundError: there is none.
        """

        def get() -> bytes | None:
            result = obstore.get(self._store, key)
            return bytes(result.bytes()) if result.meta["size"] <= max_bytes else None

        return self._call(key, get)

    def blocks(self, key: str) -> Iterator[bytes]:
        """The same in blocks of bounded size."""
        with self._reaching(key):
            for block in obstore.get(self._store, key).stream(min_chunk_size=2**20):
                yield bytes(block)

    def write(self, key: str, content: bytes) -> None:
        """Put an object in the place of what is there."""
        self._call(
            key,
            lambda: obstore.put(
                self._store, key, content, chunk_size=PART, max_concurrency=CONNECTIONS
            ),
        )
        self._sync(key)

    def take(self, source: Objects, key: str) -> Fingerprint:
        """Put an object of another place under the same key here, in parts; what it holds."""

        async def send() -> Fingerprint:
            digests = Digests()

            async def passing() -> AsyncIterator[bytes]:
                result = await obstore.get_async(source._store, key)
                async for block in result.stream(min_chunk_size=PART):
                    digests.update(bytes(block))
                    yield bytes(block)

            await obstore.put_async(
                self._store, key, passing(), chunk_size=PART, max_concurrency=CONNECTIONS
            )
            return digests.fingerprint()

        fingerprint = self._call(key, lambda: asyncio.run(send()))
        self._sync(key)
        return fingerprint

    def head(self, key: str) -> Listed | None:
        """An object as its store lists it; None where there is none."""
        try:
            return _listed(self._call(key, lambda: obstore.head(self._store, key)))
        except FileNotFoundError:
            return None

    def create(self, key: str, content: Content) -> bool:
        """Put an object where there is none, by one conditional request.

        Returns:
            Whether the object has these bytes now. A request whose answer was lost is made again
            and finds its own object, so it is compared.
        """
        try:
            self._call(key, lambda: obstore.put(self._store, key, content, mode="create"))
        except FileExistsError:
            return self.read(key) == memoryview(content)
        self._sync(key)
        return True

    def replace(self, key: str, content: Content, tag: str | None) -> bool:
        """Put an object in the place of the one with a tag, by one conditional request.

        Returns:
            Whether the object has these bytes now, as of :meth:`create`.
        """
        condition: UpdateVersion = {"e_tag": tag}
        if self.address.text.startswith("gs:"):  # which knows versions by their numbers
            current = self._call(key, lambda: obstore.head(self._store, key))
            if current["e_tag"] != tag:
                return self.read(key) == memoryview(content)
            condition["version"] = current["version"]
        try:
            self._call(key, lambda: obstore.put(self._store, key, content, mode=condition))
        except (PreconditionError, FileNotFoundError):
            return self.head(key) is not None and self.read(key) == memoryview(content)
        return True

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is none of its concern."""
        with suppress(FileNotFoundError):
            self._call(key, lambda: obstore.delete(self._store, key))

    def _sync(self, key: str) -> None:
        """A file of a folder is on disk before anything is written that names it."""
        if self.address.folder is not None:
            sync(self.address.folder / key)

    def _call(self, key: str, request: Callable[[], T]) -> T:
        with self._reaching(key):
            return _again(request)

    @contextmanager
    def _reaching(self, key: str = "") -> Iterator[None]:
        """TableError for what the store answers; a fault of this machine's disk is an OSError."""
        try:
            yield
        except AlreadyExistsError:
            raise FileExistsError(f"{self.address}/{key}") from None
        except PreconditionError:
            raise
        except (BaseError, ValueError) as error:
            folder = self.address.folder
            if folder is not None and (number := re.search(r"os error (\d+)", str(error))):
                code = int(number[1])
                raise OSError(code, os.strerror(code), str(folder / key)) from None
            raise _out_of_reach(f"{self.address}/{key}".rstrip("/"), error) from None


def _listed(item: ObjectMeta) -> Listed:
    seconds = item["last_modified"].timestamp()
    return Listed(item["size"], item["e_tag"], int(seconds * 1e6) * 1_000)


def one_line(error: Exception) -> str:
    r"""A store's error in one line: the code of an answer in XML, and no query of a URL.

    >>> one_line(OSError("GET http://u:p@h/b?X-Sig=1 in 2ms\n <Error><Code>Slow</Code></Error>"))
    'GET http://h/b in 2ms Slow'
    """
    text = without_stack(error).partition("\n\nDebug source")[0]
    text = re.sub(r"(<\?xml.*|<Error>.*)<Code>(\w+)</Code>.*", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
    text = re.sub(r"(https?://)[^/@\s]*@", r"\1", text)
    return " ".join(text.split())[:EXCERPT] or type(error).__name__


def _out_of_reach(where: str, error: Exception) -> TableError:
    text = one_line(error)
    mend = next(
        (mend for mark, mend in MENDS.items() if re.search(mark, text)), "correct what it names"
    )
    return TableError(explain(where, expected="a store within reach", found=text, mend=mend))


def _open(address: Address) -> ObjectStore:
    if address.folder is not None:
        return LocalStore(address.folder, mkdir=True)
    return from_url(f"{address}/", retry_config=RETRIES)
