"""Encoders and a catalogue that train and encode in a second."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

from producers.content.image_encoder import ImageEncoder
from producers.content.title_encoder import TitleEncoder
from vidtopics.settings import ContentSettings, ImageEncoderSettings, TitleEncoderSettings

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
IMAGE_MODEL = "test_efficientnet"


def title_encoder(words: list[str], *, dropout: float = 0.0, layers: int = 1) -> TitleEncoder:
    """A BERT of width 16 that knows these words."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(words),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate([*SPECIAL, *words])})
    return TitleEncoder(BertModel(config), tokenizer, max_tokens=8)


def image_encoder() -> ImageEncoder:
    """A network of timm's own tests, as it is drawn."""
    torch.manual_seed(5)
    return ImageEncoder(IMAGE_MODEL, pixels=32)


def weights_on_disk(folder: Path, words: list[str], *, dropout: float = 0.0) -> ContentSettings:
    """Both encoders saved below a folder, and settings that name them; they aren't trained."""
    save_file(image_encoder().network.state_dict(), folder / "image.safetensors")
    made = title_encoder(words, dropout=dropout)
    made.transformer.save_pretrained(folder / "title")
    made.tokenizer.save_pretrained(folder / "title")
    return ContentSettings(
        image_encoder=ImageEncoderSettings(
            name=IMAGE_MODEL, weights=str(folder / "image.safetensors"), pixels=32, batch_size=4
        ),
        title_encoder=TitleEncoderSettings(
            weights=str(folder / "title"), max_tokens=8, batch_size=4
        ),
        experts=2,
        expert_width=8,
        tower_width=8,
    )


def noise_cover(seed: int, side: int = 24) -> bytes:
    """A PNG of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def write_delivery(folder: Path, videos: int) -> None:
    """videos.csv, impressions.csv and covers."""
    (folder / "covers").mkdir(parents=True)
    for i in range(videos):
        (folder / "covers" / f"{i}.png").write_bytes(noise_cover(i))
    with (folder / "videos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        classes = ("primary_class", "secondary_class")
        rows.writerow(["video_id", "title", "cover", *classes, "tags", "published_at"])
        for i in range(videos):
            names = ["news", "news/city", "a|b", "2026-01-01"]
            rows.writerow([f"v{i}", f"red night {i}", f"covers/{i}.png", *names])
    (folder / "impressions.csv").write_text(
        "user_id,video_id,event_timestamp,clicked\nu1,v1,2026-01-02T00:00:00Z,1\n"
    )
