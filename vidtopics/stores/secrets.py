"""Secrets in a store's settings, so that no `repr` of them, and no log of one, shows a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from feast import RepoConfig

MASK = "***"
SECRET_NAME = re.compile(r"password|passwd|passphrase|secret|token|credential|private_key", re.I)
KEY_NAME = re.compile(r"(access|account|api|shared|sas)_?key", re.I)
ASSIGNMENT = re.compile(r"(?P<before>^|[?&;,\s])(?P<name>[^=?&;,\s]+)=(?P<value>[^&;,\s]*)")


def masked_text(text: str) -> str:
    """A text without the user and password of a URL, nor values of options that name a secret.

    >>> masked_text("redis+cluster://ranker:se%23cret@h1:6379,h2?client_name=a&password=x")
    'redis+cluster://***@h1:6379,h2?client_name=a&password=***'
    >>> masked_text("host:6379,password=secret"), masked_text("${REDIS_URL}")
    ('host:6379,password=***', '${REDIS_URL}')
    """
    scheme, separator, rest = text.partition("://")
    if separator and "@" in rest:
        text = f"{scheme}://{MASK}@{rest.rpartition('@')[2]}"

    def masked(option: re.Match[str]) -> str:
        value = MASK if is_secret(unquote(option["name"])) and option["value"] else option["value"]
        return f"{option['before']}{option['name']}={value}"

    return ASSIGNMENT.sub(masked, text)


def is_secret(name: str) -> bool:
    """Whether the value of a setting of this name is a secret.

    >>> [is_secret(name) for name in ("AWS_SECRET_ACCESS_KEY", "password", "prefix", "join_key")]
    [True, True, False, False]
    """
    return bool(SECRET_NAME.search(name) or KEY_NAME.search(name))


def masked(value: Any, name: str = "") -> Any:
    """A setting as a `repr` may show it; mappings and lists are copied."""
    if isinstance(value, Mapping):
        return {key: masked(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name) for inner in value]
    if type(value) is not str:  # a kind of text of its own hides itself
        return value
    if is_secret(name) and value and not value.startswith("${"):
        return MASK
    return masked_text(value)


class MaskedRepr:
    """A mixin of pydantic models whose `repr` and `str` show no secret."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():  # type: ignore[misc]
            yield name, masked(value, name or "")


def mask_repo_config() -> None:
    """Let `repr` of Feast's RepoConfig show no secret, either.

    It keeps `online_store` and `offline_store` as the plain mappings of `feature_store.yaml`, which
    no class of ours is asked about.
    """
    if getattr(RepoConfig.__repr_args__, "__module__", "") == __name__:
        return
    plain = RepoConfig.__repr_args__

    def repr_args(config: RepoConfig) -> Iterator[tuple[str | None, Any]]:
        for name, value in plain(config):
            yield name, masked(value, name or "")

    RepoConfig.__repr_args__ = repr_args  # type: ignore[method-assign, assignment]
