"""Finds, checks and loads the weights of both pre-trained encoders.

No pickle is loaded. Nothing heavy is imported before a model is asked for, as whether a job is up
to date is decided from :func:`encoder_identity` alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vidtopics.errors import EncoderError, explain
from vidtopics.settings import ContentSettings, ImageEncoderSettings, TitleEncoderSettings, digest

if TYPE_CHECKING:
    from torch import Tensor

    from producers.content.image_encoder import ImageEncoder
    from producers.content.title_encoder import TitleEncoder

PACKAGE = "package:"
IMAGE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
TITLE_FILES = ("config.json", "model.safetensors")


def load_image_encoder(settings: ImageEncoderSettings) -> ImageEncoder:
    """f_C with the weights that the settings name; EncoderError where they are absent or differ."""
    from producers.content.image_encoder import ImageEncoder, pretrained_state

    file = image_weights(settings)
    encoder = ImageEncoder(settings.name, pixels=settings.pixels)
    encoder.load_state_dict(pretrained_state(settings.name, read_tensors(file), where=str(file)))
    return encoder.eval()


def load_title_encoder(settings: TitleEncoderSettings) -> TitleEncoder:
    """f_T from the directory that the settings name; EncoderError where it can't be read."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    from producers.content.title_encoder import TitleEncoder

    directory = title_weights(settings)
    # A bar of half a second, in the middle of our own progress.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        transformer = AutoModel.from_pretrained(
            directory, local_files_only=True, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise _error(
            str(directory), "a transformers model with its tokenizer", str(error)
        ) from error
    return TitleEncoder(transformer, tokenizer, max_tokens=settings.max_tokens).eval()


def encoder_identity(settings: ContentSettings) -> str:
    """Names, weights and input sizes of both encoders: equal where encodings are comparable."""
    image, title = settings.image_encoder, settings.title_encoder
    files = sorted(f for f in title_weights(title).iterdir() if f.is_file())
    title_hash = digest([(f.name, file_hash(f)) for f in files])
    image_hash = file_hash(image_weights(image))[:16]
    return f"{image.name}@{image_hash}/{image.pixels}px+title@{title_hash}/{title.max_tokens}tokens"


def image_weights(settings: ImageEncoderSettings) -> Path:
    """The one weights file that the setting names."""
    setting = "content.image_encoder.weights"
    place = _place(settings.weights, setting)
    files = (
        [place]
        if place.is_file()
        else sorted(f for f in place.rglob("*") if f.suffix in IMAGE_SUFFIXES)
    )
    return _only(files, f"{setting}, {place}", f"one file of {', '.join(IMAGE_SUFFIXES)}")


def title_weights(settings: TitleEncoderSettings) -> Path:
    """The one model directory (config, safetensors, tokenizer) that the setting names."""
    setting = "content.title_encoder.weights"
    place = _place(settings.weights, setting)
    models = [
        f.parent for f in place.rglob(TITLE_FILES[0]) if (f.parent / TITLE_FILES[1]).is_file()
    ]
    return _only(
        sorted(models), f"{setting}, {place}", f"one directory with {' and '.join(TITLE_FILES)}"
    )


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or a torch.save state dict; nothing else is unpickled."""
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever odd bytes lead it to
        reason = str(error).partition("\n")[0]
        raise _error(
            str(file), "a state dict of tensors", f"{type(error).__name__} {reason}"
        ) from error
    if not isinstance(tensors, Mapping) or not all(
        isinstance(x, torch.Tensor) for x in tensors.values()
    ):
        raise _error(str(file), "a state dict of tensors", type(tensors).__name__)
    return dict(tensors)


def file_hash(file: Path) -> str:
    """SHA-256 of the file's bytes in hex, computed once for as long as its size and time stay."""
    status = file.stat()
    return _hash(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(file: Path, size: int, modified_ns: int) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _place(weights: str, setting: str) -> Path:
    """The file or directory that a settings string names; a package is located, never executed."""
    if not weights:
        raise _error(setting, "a path or package:NAME", "nothing")
    if not weights.startswith(PACKAGE):
        if not Path(weights).exists():
            raise _error(setting, "an existing path", repr(weights))
        return Path(weights)
    name = weights.removeprefix(PACKAGE)
    spec = (
        importlib.util.find_spec(name) if name.isidentifier() else None
    )  # a dotted name would import its parent
    if spec is None or not spec.submodule_search_locations:
        raise _error(setting, "an installed package", repr(name))
    return Path(spec.submodule_search_locations[0])


def _only(matches: list[Path], where: str, expected: str) -> Path:
    if len(matches) != 1:
        raise _error(where, expected, ", ".join(f.name for f in matches) or "none")
    return matches[0]


def _error(where: str, expected: str, found: str) -> EncoderError:
    mend = "install the package that ships the weights, or set the path of your own weights"
    return EncoderError(explain(where, expected=expected, found=found, mend=mend))
