"""Training data as it was known: impressions, labels, and what an online consumer was given."""

from consumers.training.inputs import Inputs, ViewRows, read
from consumers.training.stream import join_stream

__all__ = ["Inputs", "ViewRows", "join_stream", "read"]
