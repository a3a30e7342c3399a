"""Policies of the simulated platform that serve thousands of users at once (docs/simulation.md)."""
