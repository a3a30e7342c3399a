"""Videos with drawn covers and short titles, whose classes can be seen and read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tiny_encoders import image_encoder, title_encoder

from producers.content.dataset import Targets, make_targets
from producers.content.fine_tuning import FineTuned, fine_tune
from producers.content.image_encoder import ImageEncoder
from producers.content.title_encoder import TitleEncoder
from vidtopics.settings import ContentSettings, ImageEncoderSettings

SHAPES, MOODS = ("disc", "bars"), ("calm", "loud")
WORDS = [*MOODS, *(f"w{i}" for i in range(20))]
LIMIT = 10_000
VIDEOS = 64
Drawn = tuple[list[bytes | None], list[str], Targets, NDArray[np.int64]]


def draw(shape: str, random: np.random.Generator) -> bytes:
    """A disc or bars in random colours and place, so that no single pixel tells them apart."""
    ground, ink = (tuple(int(c) for c in random.integers(0, 256, 3)) for _ in range(2))
    image = Image.new("RGB", (40, 40), ground)
    pen = ImageDraw.Draw(image)
    x, y = (int(v) for v in random.integers(0, 12, 2))
    if shape == "disc":
        pen.ellipse((x, y, x + 26, y + 26), fill=ink)
    else:
        for i in range(0, 28, 6):
            pen.rectangle((x + i, y, x + i + 2, y + 26), fill=ink)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def videos(seed: int = 0) -> Drawn:
    """Covers, titles, targets and labels.

    Primary class: the cover's shape; secondary: shape and mood, a word of the title; tag: the mood.
    """
    random = np.random.default_rng(seed)
    shape = [SHAPES[i % 2] for i in range(VIDEOS)]
    mood = [MOODS[i // 2 % 2] for i in range(VIDEOS)]
    covers: list[bytes | None] = [draw(s, random) for s in shape]
    titles = [" ".join([f"w{random.integers(20)}", m, f"w{random.integers(20)}"]) for m in mood]
    pairs = list(zip(shape, mood, strict=True))
    targets = make_targets(
        [[s] for s in shape],
        [[s + m] for s, m in pairs],
        [[m] for m in mood],
        min_tag_videos=2,
        max_tags=9,
    )
    return (
        covers,
        titles,
        targets,
        np.array([2 * SHAPES.index(s) + MOODS.index(m) for s, m in pairs]),
    )


def encoders(dropout: float = 0.0) -> tuple[ImageEncoder, TitleEncoder]:
    """Both, the same at each call."""
    return image_encoder(), title_encoder(WORDS, dropout=dropout)


def settings(piece: int = 16, **changes: object) -> ContentSettings:
    """A small joint model that learns in 40 iterations; never stops early unless asked to."""
    base = {
        "experts": 4,
        "expert_width": 16,
        "tower_width": 16,
        "batch_size": 32,
        "iterations": 40,
        "learning_rate": 3e-3,
        "patience": 0,
    }
    return ContentSettings(
        image_encoder=ImageEncoderSettings(batch_size=piece), **{**base, **changes}
    )


def tune(
    trained: tuple[ImageEncoder, TitleEncoder],
    content: ContentSettings,
    *,
    drawn: Drawn | None = None,
    seed: int = 1,
    **options: object,
) -> FineTuned:
    """Fine-tunes these encoders on the drawn videos."""
    covers, titles, targets, _ = drawn or videos()
    return fine_tune(
        *trained, covers, titles, targets, content, seed=seed, max_pixels=LIMIT, **options
    )


def weights(trained: tuple[ImageEncoder, TitleEncoder], tuned: FineTuned) -> dict[str, NDArray]:
    """All weights of a result, as arrays by name."""
    modules = {"image": trained[0], "title": trained[1], "joint": tuned.joint}
    return {
        f"{name}.{key}": x.detach().numpy().copy()
        for name, module in modules.items()
        for key, x in module.state_dict().items()
    }


def gradients(trained: tuple[ImageEncoder, TitleEncoder], tuned: FineTuned) -> dict[str, NDArray]:
    """Those of the last iteration, by name; BERT's pooler has none."""
    modules = {"image": trained[0], "title": trained[1], "joint": tuned.joint}
    return {
        f"gradient.{name}.{key}": x.grad.numpy().copy()
        for name, module in modules.items()
        for key, x in module.named_parameters()
        if x.grad is not None
    }


def saved_weights(file: Path) -> dict[str, NDArray]:
    """Those that another process saved."""
    with np.load(file) as arrays:
        return dict(arrays)
