"""Candidate generation from topic queues (III-B1).

From a user's recent clicks to candidates, each with its reason.
"""

from consumers.retrieval.recall import Candidates, Recall, Store
from consumers.retrieval.rules import Reason

__all__ = ["Candidates", "Reason", "Recall", "Store"]
