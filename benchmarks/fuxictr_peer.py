"""The peer of `benchmarks.ranking_parity`: FuxiCTR's own models and training loop.

Runs under an interpreter that has FuxiCTR and nothing of this project:
`python fuxictr_peer.py FOLDER MODEL SEED...` reads `FOLDER/rows.npz` and `FOLDER/settings.json` and
writes the test rows' click probabilities, float32[seeds, N], to `FOLDER/MODEL.npy`.

The numbers of a row are one feature of type `embedding` that passes unchanged (for LR one numeric
feature each), so that both sides see the same inputs. Code 0 is padding in FuxiCTR's tables; all
codes are one higher here.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import LogisticRegression
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from model_zoo.LongCTR.DCNv2 import DCNv2
from model_zoo.LongCTR.DIN import DIN
from torch import nn

HIDDEN_SHARE = 0.1
Arrays = dict[str, np.ndarray]


class LR(BaseModel):  # type: ignore[misc]
    """FuxiCTR's logistic regression layer as a model, as its model zoo has it."""

    def __init__(self, features: FeatureMap, learning_rate: float, **settings: Any) -> None:
        super().__init__(features, **settings)
        self.linear = LogisticRegression(features)
        self.compile(settings["optimizer"], settings["loss"], learning_rate)
        self.reset_parameters()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Click probabilities, `(B, 1)`."""
        return {"y_pred": self.output_activation(self.linear(self.get_inputs(inputs)))}


class Batches:
    """Batches in the order, and with the hidden ids, of our training loop's epochs."""

    def __init__(self, rows: Arrays, part: str, name: str, size: int, seed: int | None) -> None:
        self.columns = {k[len(part) + 1 :]: v for k, v in rows.items() if k.startswith(part)}
        self.name, self.size, self.seed, self.epoch = name, size, seed, 0
        self.count = len(self.columns["clicked"])

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def __iter__(self) -> Iterator[Any]:
        random, order = None, np.arange(self.count)
        if self.seed is not None:
            random = np.random.default_rng([self.seed, self.epoch])
            order, self.epoch = random.permutation(self.count), self.epoch + 1
        for start in range(0, self.count, self.size):
            yield self.batch(order[start : start + self.size], random)

    def batch(self, rows: np.ndarray, random: np.random.Generator | None) -> Any:
        """A batch in the form that the model takes."""
        part = {name: values[rows] for name, values in self.columns.items()}
        if random is not None:
            hidden = random.random((2, len(rows))) < HIDDEN_SHARE
            part["user"] = np.where(hidden[0], 1, part["user"])
            part["video"] = np.where(hidden[1], 1, part["video"])
        plain = {name: torch.from_numpy(values) for name, values in part.items()}
        clicks, numbers = plain.pop("clicks"), plain.pop("numbers")
        if self.name == "lr":
            return plain | {f"number_{i}": column for i, column in enumerate(numbers.T)}
        sequence = torch.cat([clicks, plain.pop("video")[:, None]], 1)
        return plain | {"numbers": numbers}, {"video": sequence.flatten()}, clicks > 0


def feature_map(rows: Arrays, name: str, sizes: dict[str, int]) -> FeatureMap:
    """User, video and numbers, with the vocabularies' sizes."""
    features = FeatureMap("rows", ".")
    count = rows["train_numbers"].shape[1]
    id_of = {"type": "categorical", "padding_idx": 0}
    features.features["user"] = {**id_of, "source": "user", "vocab_size": sizes["users"] + 1}
    if name == "lr":
        for i in range(count):
            features.features[f"number_{i}"] = {"type": "numeric", "source": "user"}
    else:
        features.features["numbers"] = {
            "type": "embedding",
            "source": "user",
            "pretrain_dim": count,
            "embedding_dim": count,
            "feature_encoder": "nn.Identity()",
        }
    features.features["video"] = {**id_of, "source": "item", "vocab_size": sizes["videos"] + 1}
    features.labels, features.default_emb_dim = ["clicked"], sizes["embedding"]
    return features


def build(name: str, features: FeatureMap, settings: dict[str, Any], folder: str) -> BaseModel:
    """A FuxiCTR model at our settings: Adam, L2 on all weights, hidden layers, first weights."""
    decay = float(settings["weight_decay"])
    shared = {
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "learning_rate": settings["learning_rate"],
        "embedding_regularizer": decay,
        "net_regularizer": decay,
        "metrics": ["AUC"],
        "verbose": 0,
        "model_root": str(folder),
        "save_best_only": False,
        "reduce_lr_on_plateau": False,
        "early_stop_patience": settings["epochs"] + 1,
    }
    if name == "lr":
        model = LR(features, **shared)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.weight)
        return model
    shared["embedding_dim"] = settings["embedding_width"]
    hidden = list(settings["hidden"])
    if name == "dcn":
        layers = settings["cross_layers"]
        model = DCNv2(features, parallel_dnn_hidden_units=hidden, num_cross_layers=layers, **shared)
    else:
        model = DIN(
            features,
            dnn_hidden_units=hidden,
            attention_hidden_units=[hidden[-1]],
            attention_hidden_activations="ReLU",
            attention_output_activation="Sigmoid",
            **shared,
        )
        if name == "din":  # FuxiCTR sums attended clicks; `din_sum` is its model as it is
            model.attention_layers.register_forward_hook(
                lambda _, inputs, attended: attended / inputs[1].size(1)
            )
    for layer in model.modules():
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight[1:], std=settings["embedding_scale"])
        elif isinstance(layer, nn.Linear):
            layer.reset_parameters()  # torch's, as ours have
    return model


def main(folder: Path, name: str, seeds: list[int]) -> None:
    """Trains a model a seed and writes its scores."""
    torch.set_num_threads(1)
    rows = dict(np.load(folder / "rows.npz"))
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    size, scores = settings["batch_size"], []
    for seed in seeds:
        seed_everything(seed)
        with tempfile.TemporaryDirectory(dir=folder) as models:
            (Path(models) / "rows").mkdir()
            model = build(name, feature_map(rows, name, settings["sizes"]), settings, models)
            few = {key: values[:size] for key, values in rows.items() if key.startswith("test")}
            model.fit(
                Batches(rows, "train", name, size, seed),
                epochs=settings["epochs"],
                validation_data=Batches(few, "test", name, size, None),
            )
            scores.append(model.predict(Batches(rows, "test", name, size, None)))
    np.save(folder / f"{name}.npy", np.array(scores, np.float32))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(seed) for seed in sys.argv[3:]])
