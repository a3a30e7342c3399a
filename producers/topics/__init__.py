"""Clustering, assignment, stable IDs and labels of topics (paper, III-A3)."""
