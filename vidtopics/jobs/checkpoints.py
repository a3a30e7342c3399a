"""Checkpoints of fine-tuning: folders that are complete or absent, the newest alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidtopics.errors import EncoderError, explain
from vidtopics.files import sha256, sync

if TYPE_CHECKING:
    from producers.content.training_state import TrainingState

MANIFEST, TENSORS = "manifest.json", "state.safetensors"
CHECKPOINT, PARTIAL = "step-", "part-"


@dataclass(frozen=True)
class Checkpoints:
    """Those of one training below a folder.

    * `identity`: what the training depends on (settings, videos, code, encoders), by name.
    """

    folder: Path
    identity: Mapping[str, str]

    def save(self, state: TrainingState) -> None:
        """Write a state and remove the ones before; a crash leaves the last one as it was."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{PARTIAL}{state.step:08d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        tensors = {name: x.detach().cpu().contiguous() for name, x in state.tensors.items()}
        save_file(tensors, partial / TENSORS)
        sync(partial / TENSORS)
        manifest = {
            "step": state.step,
            "losses": state.losses.tolist(),
            "checks": sorted(state.checks.items()),
            "identity": dict(self.identity),
            "sha256": sha256(partial / TENSORS),
        }
        (partial / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        sync(partial / MANIFEST)
        sync(partial)
        partial.rename(self._of(state.step))
        sync(self.folder)
        self._remove_others(self._of(state.step))

    def last(self) -> TrainingState | None:
        """The newest state; None where there is none.

        Raises:
            EncoderError: it is of other settings, videos, code or encoders, or is damaged.
        """
        from safetensors.torch import load_file

        from producers.content.training_state import TrainingState

        newest = max(self.folder.glob(f"{CHECKPOINT}*"), default=None)
        if newest is None:
            return None
        manifest = self._read_manifest(newest)
        self._refuse_other(newest, manifest["identity"])
        if sha256(newest / TENSORS) != manifest["sha256"]:
            raise self._error(newest, f"bytes of SHA-256 {manifest['sha256']}", "others")
        return TrainingState(
            manifest["step"],
            load_file(newest / TENSORS),
            np.array(manifest["losses"], np.float32),
            {int(step): loss for step, loss in manifest["checks"]},
        )

    def clear(self) -> None:
        """Remove them all: the training is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _of(self, step: int) -> Path:
        return self.folder / f"{CHECKPOINT}{step:08d}"

    def _remove_others(self, newest: Path) -> None:
        for path in self.folder.iterdir():
            if path != newest and path.name.startswith((CHECKPOINT, PARTIAL)):
                shutil.rmtree(path)

    def _refuse_other(self, checkpoint: Path, identity: Mapping[str, str]) -> None:
        others = [name for name, value in self.identity.items() if identity.get(name) != value]
        if others:
            names = ", ".join(others)
            raise self._error(
                checkpoint, f"this training's own {names}", f"a checkpoint of other {names}"
            )

    def _read_manifest(self, checkpoint: Path) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((checkpoint / MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            raise self._error(checkpoint, "a manifest that can be read", str(error)) from error
        return manifest

    def _error(self, checkpoint: Path, expected: str, found: str) -> EncoderError:
        mend = f"restore what it was made with, or remove {self.folder} and train from the start"
        return EncoderError(explain(str(checkpoint), expected=expected, found=found, mend=mend))
