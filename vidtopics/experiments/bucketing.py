"""Assignment of users to buckets and arms by a salted hash.

The bucket of a user is a pure function of salt and user id, so that a service needs no table of
assignments, every machine agrees, and the analysis can check the log against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from vidtopics.errors import SettingsError, explain


def bucket(user_id: str, salt: str, buckets: int) -> int:
    """A user's bucket, 0 to `buckets` - 1, equally likely and independent between salts.

    floor(h * buckets / 2**64), h the first 8 bytes (big-endian) of SHA-256 of `salt:user_id`.
    A multiplication takes all of h's bits, so there is no bias of a remainder beyond 2**-50.

    >>> bucket("u1", "topics-2026-12", 1000)
    776
    >>> bucket("u1", "another test", 1000)
    178
    """
    digest = hashlib.sha256(f"{salt}:{user_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") * buckets) >> 64


def bucket_ranges(shares: Mapping[str, float], buckets: int) -> dict[str, Sequence[int]]:
    """The buckets of each arm: ranges one after the other, in the order of the arms.

    Args:
        shares: share of all users by arm; together at most 1 (the rest is in no arm).
        buckets: number of buckets.

    Raises:
        SettingsError: a share is no whole number of buckets, or they exceed 1 together.

    >>> bucket_ranges({"control": 0.5, "topics": 0.25}, 8)
    {'control': range(0, 4), 'topics': range(4, 6)}
    """
    ranges: dict[str, Sequence[int]] = {}
    first = 0
    for name, share in shares.items():
        count = Fraction(str(share)) * buckets
        if count.denominator != 1 or not count or first + count > buckets:
            raise SettingsError(
                explain(
                    f"arms.{name}.share",
                    expected=f"a whole number of {buckets} buckets, all arms at most 1 together",
                    found=f"{share:g}, {float(count):g} buckets after {first} of other arms",
                    mend="choose other shares, or more buckets",
                )
            )
        ranges[name] = range(first, first + int(count))
        first += int(count)
    return ranges


def arm(user_id: str, salt: str, buckets: int, arms: Mapping[str, Iterable[int]]) -> str | None:
    """The arm whose buckets hold the user's bucket; None where the user is in no arm.

    >>> arm("u1", "topics-2026-12", 1000, {"control": range(500), "topics": range(500, 1000)})
    'topics'
    """
    number = bucket(user_id, salt, buckets)
    return next((name for name, numbers in arms.items() if number in numbers), None)
