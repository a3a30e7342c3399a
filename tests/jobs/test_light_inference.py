"""A run that infers for few videos starts neither torch nor what trains (2.8 s of CPU and more)."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import numpy as np
import pyarrow as pa
from producers.content.representation import represent
from producers.tags.folding import fold_in
from producers.tags.pooling import pool_lists
from producers.tags.vectors import TagVectors
from producers.topics.assignment import assign
from producers.topics.parents import Parents
from vidtopics.jobs.pipeline import find
from vidtopics.jobs.topic_blocks import Blocks, TopicSpace, Thresholds

find([])
one = np.ones((1, 1), np.float32)
assign(one, one, np.array([1]), 0.5)
represent({}, one, one, np.array([True]), np.array([True]))
space = TagVectors(pa.array(["a"]), one)
pool_lists(pa.array([["a"]]), space)
fold_in(pa.array([["a", "b"]]), pa.array(["b"]), space)
heavy = {"torch", "numba", "gensim", "transformers", "timm", "faiss", "sklearn", "pyspark"}
print(sorted(heavy & sys.modules.keys()))
"""


def test_inference_of_few_videos_loads_no_training():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
