"""Trained models below `home/models`: safetensors whose name is the hash of their bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidtopics.errors import EncoderError, explain
from vidtopics.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

METADATA = "vidtopics"


def save_model(directory: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Writes `<version>.safetensors` in one step; returns the version, the SHA-256 of its bytes.

    Args:
        directory: made if absent.
        state: the model's tensors.
        metadata: plain JSON values that say how to build the model (`vars(model.shape)`).
    """
    from safetensors.torch import save

    text = json.dumps(metadata, sort_keys=True)
    data = save(
        {name: x.detach().cpu().contiguous() for name, x in state.items()}, {METADATA: text}
    )
    version = hashlib.sha256(data).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(model_file(directory, version), data)
    return version


def load_model(directory: Path, version: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State and metadata of a saved model; EncoderError if absent or not of its version's hash."""
    from safetensors.torch import load

    file = model_file(directory, version)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EncoderError(
            explain(
                str(file),
                expected="a saved joint model",
                found=str(error.strerror),
                mend="restore the file from a backup, or move the models' folder away and run",
            )
        ) from error
    digest_of_data = hashlib.sha256(data).hexdigest()
    if digest_of_data != version:
        raise EncoderError(
            explain(
                str(file),
                expected=f"bytes of SHA-256 {version[:16]}",
                found=digest_of_data[:16],
                mend="restore the file from a backup, or move the models' folder away and run",
            )
        )
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), json.loads(header["__metadata__"][METADATA])


def model_file(directory: Path, version: str) -> Path:
    """Where a version of the joint model lies."""
    return directory / f"{version}.safetensors"
