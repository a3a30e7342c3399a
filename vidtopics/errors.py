"""The few errors that vidtopics raises on purpose.

A message says where, what was expected, what was found, and what to do; :func:`explain` puts the
four together so that every error reads alike.

>>> print(explain("impressions.csv, row 7", expected="ISO 8601 or Unix seconds",
...               found="'yesterday'", mend="write the time as 2026-11-23T16:45:00Z"))
impressions.csv, row 7: expected ISO 8601 or Unix seconds, found 'yesterday'. Mend: write the time
as 2026-11-23T16:45:00Z.
"""

from __future__ import annotations


class VidtopicsError(Exception):
    """Base of every error that a user of vidtopics can cause and mend."""


class SettingsError(VidtopicsError):
    """A configuration file or value is wrong."""


class ContractError(VidtopicsError):
    """Rows break the contract of the table that they are published to."""


class InputError(VidtopicsError):
    """A delivery of input data can't be read, or too much of it is refused."""


class TableError(VidtopicsError):
    """A table is missing, replaced, or holds what its contract doesn't allow."""


class ConflictError(VidtopicsError):
    """Another writer committed first, more often than a retry could follow."""


class OutdatedError(VidtopicsError):
    """The table has moved on since the version that the rows were made from."""


class BusyError(VidtopicsError):
    """Another run has the lock of the home, or took the place of this one."""


class StoreError(VidtopicsError):
    """The online store holds nothing, or not what was asked for."""


class EncoderError(VidtopicsError):
    """An encoder or its weights can't be loaded."""


class MachineError(VidtopicsError):
    """The machine lacks something (Java, a jar, a package)."""


def explain(where: str, *, expected: str, found: str, mend: str) -> str:
    """One sentence for a message: where, expected, found, and the mend.

    >>> explain("Redis", expected="an answer", found="Connection refused.", mend="start it")
    'Redis: expected an answer, found Connection refused. Mend: start it.'
    """
    return f"{where}: expected {expected}, found {found.removesuffix('.')}. Mend: {mend}."
