"""Finds, checks, loads and saves the weights of both encoders.

No pickle is loaded. Nothing heavy is imported before a model is asked for, as whether a job is up
to date is decided from :func:`encoder_identity` alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
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

PACKAGE, RANDOM = "package:", "random:"
IMAGE_SETTING, TITLE_SETTING = "content.image_encoder.weights", "content.title_encoder.weights"
IMAGE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_DATA_ONLY = {"local_files_only": True, "trust_remote_code": False}
"""Of transformers: it fetches nothing, and neither runs code that lies beside weights nor asks."""
SAVED_IMAGE, SAVED_TITLE = "image_encoder.safetensors", "title_encoder"


def load_image_encoder(settings: ImageEncoderSettings) -> ImageEncoder:
    """f_C with the weights that the settings name; EncoderError where they are absent or differ."""
    import torch

    from producers.content.image_encoder import ImageEncoder, pretrained_state

    seed = random_seed(settings.weights, IMAGE_SETTING)
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ImageEncoder(settings.name, pixels=settings.pixels).eval()
    files = image_weights(settings)
    tensors = {name: x for file in files for name, x in read_tensors(file).items()}
    encoder = ImageEncoder(settings.name, pixels=settings.pixels)
    encoder.load_state_dict(pretrained_state(settings.name, tensors, where=str(files[0])))
    return encoder.eval()


def load_title_encoder(settings: TitleEncoderSettings) -> TitleEncoder:
    """f_T from the directory that the settings name; EncoderError where it can't be read."""
    from transformers import AutoModel, AutoTokenizer

    from producers.content.title_encoder import TitleEncoder, random_title_encoder

    seed = random_seed(settings.weights, TITLE_SETTING)
    if seed is not None:
        return random_title_encoder(seed, max_tokens=settings.max_tokens).eval()
    directory = title_weights(settings)
    _disable_progress_bar()
    try:
        transformer = AutoModel.from_pretrained(directory, use_safetensors=True, **_DATA_ONLY)
        tokenizer = AutoTokenizer.from_pretrained(directory, **_DATA_ONLY)
    except (OSError, ValueError, KeyError) as error:
        raise _error(
            str(directory), "a transformers model with its tokenizer", str(error)
        ) from error
    return TitleEncoder(transformer, tokenizer, max_tokens=settings.max_tokens).eval()


def save_encoders(folder: Path, image_encoder: ImageEncoder, title_encoder: TitleEncoder) -> None:
    """Writes both encoders below an existing folder, for :func:`with_saved_encoders`.

    Whoever owns the folder makes it durable and complete (its manifest comes last).
    """
    from safetensors.torch import save_file

    _disable_progress_bar()
    state = image_encoder.network.state_dict()
    save_file({name: x.cpu().contiguous() for name, x in state.items()}, folder / SAVED_IMAGE)
    title_encoder.transformer.save_pretrained(folder / SAVED_TITLE)
    title_encoder.tokenizer.save_pretrained(folder / SAVED_TITLE)


def with_saved_encoders(settings: ContentSettings, folder: Path) -> ContentSettings:
    """The settings with the weights that :func:`save_encoders` wrote in place of their own."""
    image = settings.image_encoder.model_copy(update={"weights": str(folder / SAVED_IMAGE)})
    title = settings.title_encoder.model_copy(update={"weights": str(folder / SAVED_TITLE)})
    return settings.model_copy(update={"image_encoder": image, "title_encoder": title})


def _disable_progress_bar() -> None:
    """A bar of half a second, in the middle of our own progress."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def encoder_identity(settings: ContentSettings) -> str:
    """Names, weights and input sizes of both encoders: equal where encodings are comparable."""
    image, title = settings.image_encoder, settings.title_encoder
    return (
        f"{image.name}@{_image_identity(image)}/{image.pixels}px"
        f"+title@{_title_identity(title)}/{title.max_tokens}tokens"
    )


def _image_identity(settings: ImageEncoderSettings) -> str:
    seed = random_seed(settings.weights, IMAGE_SETTING)
    if seed is not None:
        return f"random weights, seed {seed}"
    hashes = [file_hash(file) for file in image_weights(settings)]
    return hashes[0][:16] if len(hashes) == 1 else digest(hashes)


def _title_identity(settings: TitleEncoderSettings) -> str:
    seed = random_seed(settings.weights, TITLE_SETTING)
    if seed is not None:
        return f"random weights, seed {seed}"
    files = sorted(f for f in title_weights(settings).iterdir() if f.is_file())
    return digest([(f.name, file_hash(f)) for f in files])


def random_seed(weights: str, setting: str) -> int | None:
    """The seed of weights that are drawn and not trained; None where a setting names others.

    >>> random_seed("random:7", "weights"), random_seed("package:random", "weights")
    (7, None)
    """
    if not weights.startswith(RANDOM):
        return None
    seed = weights.removeprefix(RANDOM)
    if not (seed.isascii() and seed.isdigit() and len(seed) < 10):
        raise _error(setting, "random:SEED, a whole number below 10^9", repr(weights))
    return int(seed)


def image_weights(settings: ImageEncoderSettings) -> list[Path]:
    """The weights file that the setting names, or the shards that a model folder's index names."""
    place = _place(settings.weights, IMAGE_SETTING)
    if place.is_file():
        return [place]
    where = f"{IMAGE_SETTING}, {place}"
    if models := _model_folders(place):
        return _weight_files(_only(models, where, "one model folder"))
    files = sorted(f for f in place.rglob("*") if f.suffix in IMAGE_SUFFIXES)
    return [_only(files, where, f"one file of {', '.join(IMAGE_SUFFIXES)}")]


def title_weights(settings: TitleEncoderSettings) -> Path:
    """The one model directory (config, safetensors, tokenizer) that the setting names."""
    place = _place(settings.weights, TITLE_SETTING)
    folder = _only(
        _model_folders(place),
        f"{TITLE_SETTING}, {place}",
        f"one directory with {CONFIG} and {WEIGHTS}",
    )
    _weight_files(folder)
    return folder


def _model_folders(place: Path) -> list[Path]:
    """Folders in Hugging Face's layout at or below a place."""
    folders = (f.parent for f in place.rglob(CONFIG))
    return sorted(f for f in folders if (f / WEIGHTS).is_file() or (f / INDEX).is_file())


def _weight_files(folder: Path) -> list[Path]:
    """The model's one file, or the shards of its index; EncoderError where one is absent."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _error(str(index), "a weight_map of tensors to files", repr(error)) from error
    missing = [n for n in names if Path(n).name != n or not (folder / n).is_file()]
    if missing or not names:
        raise _error(str(index), "each shard beside it", f"not there: {', '.join(missing)}")
    return [folder / name for name in names]


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
        raise _error(setting, "a path, package:NAME or random:SEED", "nothing")
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
