"""Training data as it was known: impressions, labels, and what an online consumer was given."""

from consumers.training.frames import Frame, frames
from consumers.training.inputs import Inputs, ViewRows, read
from consumers.training.stream import join_stream

__all__ = ["Frame", "Inputs", "ViewRows", "frames", "join_stream", "read"]
