"""Encoders of cover and title, and the joint representation (III-A1)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vidtopics.settings.section import Count, Positive, Section, Share


class ImageEncoderSettings(Section):
    """f_C of Eq. 1, a timm model by name."""

    name: str = "inception_resnet_v2"
    weights: str = ""
    """A safetensors or state-dict file, a folder in Hugging Face's layout, `package:NAME` of a
    package that ships either, or `random:SEED`: as drawn, untrained."""
    pixels: Positive = 299
    batch_size: Positive = 32


class TitleEncoderSettings(Section):
    """f_T of Eq. 1, a transformers model directory."""

    weights: str = ""
    """A folder in Hugging Face's layout, `package:NAME` of a package that ships one, or
    `random:SEED`: BERT base over bytes as it is drawn, untrained."""
    max_tokens: Positive = 32
    batch_size: Positive = 64


class ContentSettings(Section):
    """Joint representation of cover and title (III-A1)."""

    image_encoder: ImageEncoderSettings = ImageEncoderSettings()
    title_encoder: TitleEncoderSettings = TitleEncoderSettings()
    train_encoders: bool = True
    """True: fine-tune end to end (the paper). False: train projections and MMoE alone."""
    projection_width: Count = 0
    """Width of each modality's projection before z; 0: none, z is the encoders' outputs."""
    experts: Positive = 12
    expert_width: Positive = 512
    tower_width: Positive = 64
    iterations: Positive = 200
    warm_iterations: Positive = 40
    """Of a run that goes on from the last model: 200 at each of five dates learned by heart."""
    batch_size: Positive = 300
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    normalize_targets: bool = True
    """True: each task's targets sum to 1. False: binary vectors, as Eq. 2 is printed."""
    holdout_share: Share = 0.1
    """Share of contents that never train, chosen by a hash of cover and title; Table I is measured
    on their videos."""
    validation_share: Share = 0.05
    """Share of the learning videos that fine-tuning is judged on instead, by a hash of cover and
    title; 1,000 of them at most. Not used where `patience` is 0."""
    patience: Count = 5
    """Checks without a better validation loss after which fine-tuning stops and goes back to the
    best; 0: all iterations (the paper)."""
    check_every: Positive = 10
    """Iterations between two checks of the validation loss."""
    checkpoint_every: Positive = 20
    """Iterations between two checkpoints of fine-tuning, from which a run that died goes on."""
    processes: Positive = 1
    """That fine-tune together, each with a part of every batch (Spark's TorchDistributor)."""
    max_tags: Positive = 12_000
    """Tag classes of the third task, by falling number of videos (paper: 12,000)."""
    min_tag_videos: Positive = 2

    @model_validator(mode="after")
    def _refuse_to_train_nothing(self) -> Self:
        """Frozen encoders without a projection: the MMoE would learn, and z stay as it is."""
        if not self.train_encoders and self.projection_width == 0:
            raise PydanticCustomError(
                "trains_nothing",
                "something to train that reaches z: train_encoders: true or projection_width > 0",
            )
        return self
