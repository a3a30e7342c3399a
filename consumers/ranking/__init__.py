"""Ranking (III-B2): models with and without topics on what was known at each impression."""
