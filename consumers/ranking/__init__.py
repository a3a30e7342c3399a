"""Ranking (III-B2): Wide&Deep on point-in-time frames, with and without topics."""
