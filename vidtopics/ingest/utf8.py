"""Which texts of an Arrow array are not UTF-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def undecodable(texts: pa.Array) -> npt.NDArray[np.bool_]:
    r"""True where a text (binary or string, null counts as fine) is not UTF-8.

    Whole arrays are validated at once and only halved where one fails: k bad texts among n cost k
    log n scans' starts.

    >>> undecodable(pa.array([b"a", b"caf\xe9", "é".encode()])).tolist()
    [False, True, False]
    """
    bad = np.zeros(len(texts), bool)
    pending = [(0, len(texts))]
    while pending:
        start, stop = pending.pop()
        if _decodes(texts.slice(start, stop - start)):
            continue
        if stop - start == 1:
            bad[start] = True
        else:
            middle = (start + stop) // 2
            pending += [(start, middle), (middle, stop)]
    return bad


def _decodes(texts: pa.Array) -> bool:
    try:
        texts.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
