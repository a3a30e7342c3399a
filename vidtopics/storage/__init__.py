"""Homes that lie in a folder or in a bucket of an object store: addresses, objects, copies.

docs/object-stores.md says what works where.
"""

from __future__ import annotations

from vidtopics.storage.addresses import Address
from vidtopics.storage.copying import Copy, copy_home
from vidtopics.storage.objects import Objects

__all__ = ["Address", "Copy", "Objects", "copy_home"]
