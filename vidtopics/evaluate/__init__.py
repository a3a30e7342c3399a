"""Evaluations that read a home: of representations on held-out videos."""
