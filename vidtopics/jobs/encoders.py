"""The frozen encoders of a run: loaded for it, or kept by a process that makes many."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from vidtopics.jobs.inputs import content_settings, encoder_of
from vidtopics.jobs.job import Run
from vidtopics.settings import ContentSettings

if TYPE_CHECKING:
    from producers.content.image_encoder import ImageEncoder
    from producers.content.title_encoder import TitleEncoder

    Encoders: TypeAlias = tuple[ImageEncoder, TitleEncoder]


def load_encoders(run: Run) -> Encoders:
    """Both encoders on the device that there is; where the run keeps them, those of the last run.

    EncoderError where weights are absent or differ.
    """
    from producers.content.device import choose_device

    settings, device = content_settings(run), str(choose_device())
    keeps = run.keeps_encoders
    return kept_encoders(encoder_of(run), settings, device) if keeps else _load(settings, device)


@lru_cache(maxsize=1)
def kept_encoders(identity: str, settings: ContentSettings, device: str) -> Encoders:
    """Those of the last call, where that was the same; `identity` changes with the files' bytes."""
    return _load(settings, device)


def _load(settings: ContentSettings, device: str) -> Encoders:
    from producers.content.weights import load_image_encoder, load_title_encoder

    return (
        load_image_encoder(settings.image_encoder).to(device),
        load_title_encoder(settings.title_encoder).to(device),
    )
