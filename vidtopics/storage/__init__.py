"""Homes that lie in a folder or in a bucket of an object store: addresses, objects, copies.

`copying` copies a home, `mirrors` lets a bucket be read as if it were a folder.
docs/object-stores.md says what works where.
"""

from __future__ import annotations

from vidtopics.storage.addresses import Address

__all__ = ["Address"]
