"""What is known of tags: their vectors. Apart from skip-gram, so that a run loads no training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class TagVectors(NamedTuple):
    """{t_1: e_1, ..., t_T: e_T}: tags string[T] in byte order, vectors float32[T, d]."""

    tags: pa.StringArray
    vectors: NDArray[np.float32]
