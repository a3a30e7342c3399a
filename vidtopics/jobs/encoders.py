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
    settings = content_settings(run)
    return _kept(encoder_of(run), settings) if run.keeps_encoders else _load(settings)


@lru_cache(maxsize=1)
def _kept(identity: str, settings: ContentSettings) -> Encoders:
    """Those of the last topic model version; `identity` changes with the files' bytes."""
    return _load(settings)


def _load(settings: ContentSettings) -> Encoders:
    from producers.content.device import choose_device
    from producers.content.weights import load_image_encoder, load_title_encoder

    device = choose_device()
    return (
        load_image_encoder(settings.image_encoder).to(device),
        load_title_encoder(settings.title_encoder).to(device),
    )
