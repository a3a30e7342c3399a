"""A person leaves: what is held of a user's id is erased from a home and its Redis, or exported.

`docs/erasure.md` has the rules, docs/adr/0063 why history is rewritten in place.
"""
