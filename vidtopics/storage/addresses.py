"""Where a home lies: a folder of this machine, or a prefix in a bucket."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vidtopics.errors import SettingsError, explain
from vidtopics.paths import addressable, is_url

SCHEMES = ("s3", "gs", "abfss")
ALIASES = {"s3a": "s3", "abfs": "abfss"}
"""Other names of a scheme, so that one place has one address."""
CONTAINERS = ("abfss",)
"""Schemes whose addresses name a container before the account: `abfss://container@account/`."""
_AFTER_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+(?=.)")
"""As a URL begins, and as `pathlib` leaves it: with one slash."""
_SEGMENT = re.compile(r"[A-Za-z0-9._=+~,-]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Address:
    """A folder's absolute path, or the URL of a bucket and a prefix in it.

    >>> Address.parse("s3://bucket/homes/main/").text
    's3://bucket/homes/main'
    >>> Address.parse("s3a://bucket/homes/main").text
    's3://bucket/homes/main'
    >>> Address.parse("s3://bucket/homes/main").folder is None
    True
    >>> str(Address.parse("/srv/home").folder)
    '/srv/home'
    """

    text: str

    @classmethod
    def parse(cls, text: str | os.PathLike[str], where: str = "home") -> Address:
        """The address that a text names. `where` says in errors whose it is.

        Raises:
            SettingsError: a path that no table can lie below, or a URL with another scheme, without
                a bucket, with credentials, a query, or signs in its prefix that stores and engines
                escape differently.
        """
        plain = _AFTER_SCHEME.sub(r"\1://", os.fspath(text))
        if not is_url(plain):
            return cls(str(addressable(plain, where)))
        return cls(_checked_url(plain, where))

    @property
    def folder(self) -> Path | None:
        """The path of a folder; None for a bucket."""
        return None if is_url(self.text) else Path(self.text)

    def __str__(self) -> str:
        return self.text

    def is_within(self, other: Address) -> bool:
        """Whether this is `other` or lies below it.

        >>> home = Address.parse("s3://bucket/home")
        >>> Address.parse("s3://bucket/home/b").is_within(home)
        True
        >>> Address.parse("s3://bucket/home2").is_within(home)
        False
        """
        if self.folder and other.folder:
            return self.folder.resolve().is_relative_to(other.folder.resolve())
        return f"{self.text}/".startswith(f"{other.text}/")


def _checked_url(text: str, where: str) -> str:
    parts = urlsplit(text)
    scheme = ALIASES.get(parts.scheme.lower(), parts.scheme.lower())
    host = parts.netloc
    if scheme in CONTAINERS and host.count("@") == 1:
        container, _, account = host.partition("@")
        is_host = all(_HOST.fullmatch(name) for name in (container, account))
    else:
        is_host = _HOST.fullmatch(host) is not None
    segments = [segment for segment in parts.path.split("/") if segment]
    is_prefix = all(_SEGMENT.fullmatch(name) and name.strip(".") for name in segments)
    if scheme in SCHEMES and is_host and is_prefix and not (parts.query or parts.fragment):
        return "/".join([f"{scheme}://{host}", *segments])
    # The text may hold a key: what is repeated of it is neither user, password nor query.
    shown = f"{scheme}://{host.rpartition('@')[2]}{parts.path}"
    raise SettingsError(
        explain(
            where,
            expected="a folder, or s3://bucket/prefix, gs://bucket/prefix or"
            " abfss://container@account.dfs.core.windows.net/prefix"
            " with letters, digits and ._=+~,- in its prefix",
            found=shown,
            mend="correct the address; credentials come from the environment",
        )
    )
