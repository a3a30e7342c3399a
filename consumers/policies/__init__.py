"""Policies of the simulated platform that serve thousands of users at once (docs/simulation.md)."""

from consumers.policies.home import load_policies

__all__ = ["load_policies"]
