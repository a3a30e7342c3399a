"""Whether two stores have the same bytes, by as few reads as their tags allow."""

from __future__ import annotations

from typing import Literal

from vidtopics.storage.fingerprints import Fingerprint, md5_tag
from vidtopics.storage.objects import Listed, Objects

SENDERS = 8
"""Objects that are compared or sent at a time."""
Proof = Literal["tag", "read"]


def same_bytes(
    source: Objects, target: Objects, key: str, left: Listed, right: Listed
) -> Proof | None:
    """How it was found that both have the same bytes under a key; None where they haven't.

    By the MD5 that a store has of them where that tells, else by reading both.
    """
    if left.size != right.size:
        return None
    if md5_tag(left.tag) and md5_tag(left.tag) == md5_tag(right.tag):
        return "tag"
    fingerprints = {
        side: Fingerprint.of(side.blocks(key))
        for side in (source, target)
        if side.address.folder is not None
    }
    if source in fingerprints and fingerprints[source].has_tag(right.tag):
        return "tag"
    if target in fingerprints and fingerprints[target].has_tag(left.tag):
        return "tag"
    for side in (source, target):
        if side not in fingerprints:
            fingerprints[side] = Fingerprint.of(side.blocks(key))
    return "read" if fingerprints[source].sha256 == fingerprints[target].sha256 else None
