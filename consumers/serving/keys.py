"""API keys with scopes and rates: who may ask for what, and how often."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from vidtopics.errors import SettingsError, explain
from vidtopics.settings.section import Section
from vidtopics.yaml_files import read_mapping

Scope = Literal["read", "events"]


class ApiKey(Section):
    """A key as the file describes it; the key itself stands nowhere."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the key's text, in hexadecimal."""
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    rate: Annotated[float, Field(gt=0)]
    """Requests a second; as many may come at once."""


class TokenBucket:
    """A rate with bursts: `rate` tokens a second, at most that many (at least one) saved.

    >>> times = iter([0.0, 0.0, 0.0, 0.0, 0.25, 1.0])
    >>> bucket = TokenBucket(2, clock=lambda: next(times))
    >>> [bucket.take() for _ in range(5)]  # two at once, then one each half second
    [0.0, 0.0, 0.5, 0.25, 0.0]
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(rate, 1.0)
        self._clock = clock
        self._tokens = self._most
        self._at = clock()

    def take(self) -> float:
        """0 where there is a token, which is gone then; else the seconds until the next one."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + self._rate * (now - self._at))
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class KeyRing:
    """The keys of a file.

    Each worker has its part of a key's rate, and one request at least at once: a key of rate 1 gets
    8 at once from 8 workers, then one each second in all.

    Args:
        keys: by their names.
        workers: processes that share each key's rate.

    >>> key = {"sha256": sha256(b"secret").hexdigest(), "scopes": {"read"}, "rate": 1}
    >>> ring = KeyRing({"web": ApiKey(**key)})
    >>> ring.name_of("secret"), ring.name_of("guess")
    ('web', None)
    """

    def __init__(self, keys: Mapping[str, ApiKey], workers: int = 1) -> None:
        self.keys = keys
        self.buckets = {name: TokenBucket(key.rate / workers) for name, key in keys.items()}

    @classmethod
    def read(cls, path: Path, workers: int = 1) -> KeyRing:
        """The keys of a YAML file; SettingsError names each that is wrong."""
        tree = read_mapping(path)
        if not tree:
            raise _wrong(str(path), "a key at least", "none")
        keys, problems = {}, []
        for name, entry in tree.items():
            try:
                keys[str(name)] = ApiKey.model_validate(entry)
            except ValidationError as error:
                problems += [
                    str(
                        _wrong(
                            ".".join([f"{path}, {name}", *map(str, e["loc"])]),
                            e["msg"],
                            "something else",
                        )
                    )
                    for e in error.errors(include_input=False)
                ]
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(keys, workers)

    def name_of(self, secret: str) -> str | None:
        """Whose key this is; None: nobody's. It takes as long whichever it is."""
        digest = sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        owner = None
        for name, key in self.keys.items():
            if hmac.compare_digest(key.sha256, digest):
                owner = name
        return owner


def _wrong(where: str, expected: str, found: str) -> SettingsError:
    mend = "write NAME: {sha256: ..., scopes: [read], rate: 100} (docs/serving.md)"
    return SettingsError(explain(where, expected=expected, found=found, mend=mend))
