"""Runs f_C and f_T over covers and titles, in bounded memory, on a CPU or a GPU."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from producers.content.device import linear_layers_by_onednn
from producers.content.image_encoder import ImageEncoder
from producers.content.images import ImageTransform
from producers.content.title_encoder import TitleEncoder
from producers.content.training import Progress
from vidtopics.images import Problem, decode_cover

DECODED_AHEAD = 128  # covers that wait for the encoder
Decoded: TypeAlias = NDArray[np.float32] | Problem
Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class Encodings:
    """Encoder outputs of some videos, in their order.

    * `image`: float32 `(videos, image width)`, f_C(x_I); zero without a readable cover.
    * `title`: float32 `(videos, title width)`, f_T(x_W); zero without a title.
    * `has_image`, `has_title`: bool `(videos,)`.
    * `problems`: per video why there is no cover, None where there is one.
    """

    image: NDArray[np.float32]
    title: NDArray[np.float32]
    has_image: NDArray[np.bool_]
    has_title: NDArray[np.bool_]
    problems: tuple[Problem | None, ...]


def encode_covers(
    encoder: ImageEncoder,
    covers: Sequence[bytes | None],
    *,
    max_pixels: int,
    batch_size: int,
    cores: int | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], tuple[Problem | None, ...]]:
    """f_C of each cover, on the encoder's device; `(covers, width)` and why a row is zero.

    Args:
        encoder: f_C.
        covers: file bytes; read and decoded in threads, best from a sequence that reads on demand.
        max_pixels: above it a cover is a decompression bomb; bounds a thread's memory (4 bytes
            a pixel).
        batch_size: images per step; no part of the result.
        cores: that decode and, on a CPU, encode; None: all of the machine.
        progress: called after each batch.
    """
    encoder.eval()
    if next(encoder.parameters()).device.type == "cpu":
        encoder.to(memory_format=torch.channels_last)
    output = np.zeros((len(covers), encoder.width), np.float32)
    problems: list[Problem | None] = []
    decoded = decoded_covers(
        encoder.transform, covers, range(len(covers)), max_pixels=max_pixels, cores=cores
    )
    stacked = iter(lambda: list(islice(decoded, batch_size)), [])
    for batch, features in _ahead(
        lambda batch: _image_features(encoder, batch), stacked, _encoding_threads(encoder, cores)
    ):
        output[len(problems) : len(problems) + len(batch)] = features
        problems += [x if isinstance(x, str) else None for x in batch]
        if progress:
            progress(len(problems), len(covers))
    return output, tuple(problems)


def _image_features(encoder: ImageEncoder, batch: list[Decoded]) -> NDArray[np.float32]:
    """f_C of a batch of decoded covers, zero where there is none."""
    covers = [cover for cover in batch if not isinstance(cover, str)]
    features = np.zeros((len(batch), encoder.width), np.float32)
    if covers:
        images, _ = present(covers, encoder.transform.pixels)
        with torch.inference_mode():
            encoded = encoder(images.to(next(encoder.parameters()).device)).float().cpu()
        features[[not isinstance(cover, str) for cover in batch]] = encoded.numpy()
    return features


def _encoding_threads(encoder: nn.Module, cores: int | None) -> int:
    """Batches at once: one a core on a CPU, where each then runs on one thread; one on a GPU."""
    is_cpu = next(encoder.parameters()).device.type == "cpu"
    return (cores or os.cpu_count() or 1) if is_cpu else 1


def _ahead(
    work: Callable[[Batch], NDArray[np.float32]], batches: Iterator[Batch], threads: int
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Each batch with the result of `work` on it, in order, `threads` at once and few ahead.

    Small convolutions gain nothing from torch's own threads (2.7 s for 256 covers with two, 2.3 s
    with one), and lose ten times that when another process wants the cores; two batches side by
    side do gain. Results are those of one thread, too: torch takes other kernels with several.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            waiting = deque(
                (batch, pool.submit(work, batch)) for batch in islice(batches, threads + 1)
            )
            while waiting:
                batch, result = waiting.popleft()
                yield batch, result.result()
                waiting.extend((batch, pool.submit(work, batch)) for batch in islice(batches, 1))
    finally:
        torch.set_num_threads(before)


def encode_titles(
    encoder: TitleEncoder,
    titles: Sequence[str],
    *,
    batch_size: int,
    cores: int | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """f_T of each title, on the device that the encoder is on.

    Returns:
        `(titles, width)`, zero for a title of white space alone, and `(titles,)`, false for those.
    """
    encoder.eval()
    output = np.zeros((len(titles), encoder.width), np.float32)
    has_title = np.array([bool(title.strip()) for title in titles], np.bool_)
    done = 0
    with linear_layers_by_onednn(encoder):
        for (rows, _), features in _ahead(
            lambda batch: _title_features(encoder, batch[1]),
            token_batches(encoder, titles, np.flatnonzero(has_title), batch_size=batch_size),
            _encoding_threads(encoder, cores),
        ):
            output[rows] = features
            done += len(rows)
            if progress:
                progress(done, int(has_title.sum()))
    return output, has_title


def token_batches(
    encoder: TitleEncoder, titles: Sequence[str], rows: NDArray[np.int64], *, batch_size: int
) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
    """Rows of `titles` in batches by their number of tokens, each batch with its tensors.

    Titles of one length need no padding: a fifth of the tokens was, with batches by the number of
    characters. The caller's thread makes the tokens, as a tokenizer isn't for two at once.
    """
    if not len(rows):
        return
    lists = encoder.tokenize([titles[i] for i in rows])
    lengths = [len(ids) for ids in lists["input_ids"]]
    order = np.argsort(lengths, kind="stable")
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        yield (
            rows[batch],
            encoder.pad({name: [values[i] for i in batch] for name, values in lists.items()}),
        )


def _title_features(encoder: TitleEncoder, tokens: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """f_T of a batch of tokenized titles."""
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        features = encoder({name: x.to(device) for name, x in tokens.items()})
    array: NDArray[np.float32] = features.float().cpu().numpy()
    return array


def encode(
    image_encoder: ImageEncoder,
    title_encoder: TitleEncoder,
    covers: Sequence[bytes | None],
    titles: Sequence[str],
    *,
    max_pixels: int,
    image_batch: int,
    title_batch: int,
    cores: int | None = None,
    progress: Progress | None = None,
) -> Encodings:
    """Both encoders over the same videos; `progress` counts covers, which take most of the time.

    A row depends on its own cover and title alone: batch sizes and neighbours change it by rounding
    only (1e-5); the number of `cores` (None: all of the machine) doesn't.
    """
    title, has_title = encode_titles(title_encoder, titles, batch_size=title_batch, cores=cores)
    image, problems = encode_covers(
        image_encoder,
        covers,
        max_pixels=max_pixels,
        batch_size=image_batch,
        cores=cores,
        progress=progress,
    )
    has_image = np.array([problem is None for problem in problems], np.bool_)
    return Encodings(image, title, has_image, has_title, problems)


def decoded_covers(
    transform: ImageTransform,
    covers: Sequence[bytes | None],
    rows: Sequence[int],
    *,
    max_pixels: int,
    cores: int | None = None,
) -> Iterator[Decoded]:
    """Each `covers[i]` of `rows`, transformed in threads a few ahead, or its problem."""

    def decode(i: int) -> Decoded:
        cover = decode_cover(covers[i], max_pixels=max_pixels)
        return (
            transform(cover.pixels) if cover.pixels is not None else cover.problem or "unreadable"
        )

    with ThreadPoolExecutor(cores or os.cpu_count()) as pool:
        todo = iter(rows)
        # Executor.map would decode everything at once.
        waiting = deque(pool.submit(decode, i) for i in islice(todo, DECODED_AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(decode, i) for i in islice(todo, 1))


def present(batch: Iterable[Decoded], pixels: int) -> tuple[Tensor, Tensor]:
    """Decoded covers as `(B, 3, pixels, pixels)`, zero where there is none, and flags `(B,)`.

    In memory channels come last, as convolutions on a CPU want them.
    """
    arrays = [None if isinstance(x, str) else x.transpose(1, 2, 0) for x in batch]
    zero = np.zeros((pixels, pixels, 3), np.float32)
    images = torch.from_numpy(np.stack([zero if x is None else x for x in arrays]))
    return images.permute(0, 3, 1, 2), torch.tensor([x is not None for x in arrays])
