"""Encoders, MMoE and joint representations of cover and title (paper, III-A1)."""
