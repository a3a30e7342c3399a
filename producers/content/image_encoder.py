"""f_C of Eq. 1: a convolutional network of timm, pooled, without its classifier."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import timm
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from producers.content.images import ImageTransform
from vidtopics.errors import EncoderError, explain


class ImageEncoder(nn.Module):
    """Pooled features of a timm model.

    Args:
        name: a timm model, such as `inception_resnet_v2` (paper, IV-A) or `tf_efficientnet_lite0`.
        pixels: height and width of its input.

    Attributes:
        width: of its output.
        transform: cover pixels -> input, normalised as timm says that the model was trained.

    Raises:
        EncoderError: timm has no model of that name.

    >>> import torch
    >>> encoder = ImageEncoder("test_efficientnet", pixels=64).eval()
    >>> tuple(encoder(torch.zeros(2, 3, 64, 64)).shape) == (2, encoder.width)
    True
    """

    def __init__(self, name: str, *, pixels: int) -> None:
        super().__init__()
        _check_name(name)
        self.network = timm.create_model(name, pretrained=False, num_classes=0)
        self.width = int(self.network.head_hidden_size)  # type: ignore[arg-type]
        config = resolve_model_data_config(self.network)  # type: ignore[no-untyped-call]
        self.transform = ImageTransform(
            pixels, config["mean"], config["std"], config["interpolation"]
        )

    def forward(self, images: Tensor) -> Tensor:
        """`(B, 3, pixels, pixels)` -> `(B, width)`."""
        features: Tensor = self.network(images)
        return features


def pretrained_state(name: str, weights: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """`weights` under the names that :class:`ImageEncoder` gives them, without the classifier.

    Weights match by name where the names are timm's. Otherwise (another library's file of the same
    network) they match by order, and each must agree with timm's in its shape and in its own name
    (`weight`, `running_mean`, ...).

    Args:
        name: the timm model.
        weights: tensors by name, with or without a classifier, in the order of the layers.
        where: what to call the weights in an error.

    Raises:
        EncoderError: the weights are not that model's; the message names the first that differs.
    """
    _check_name(name)
    headless = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    whole = timm.create_model(name, pretrained=False).state_dict()
    expected = next((known for known in (whole, headless) if len(known) == len(weights)), None)
    if expected is None:
        raise _mismatch(where, f"{len(whole)} tensors of {name}", f"{len(weights)}")
    by_name = expected.keys() == weights.keys()
    tensors = (
        {k: weights[k] for k in expected}
        if by_name
        else dict(zip(expected, weights.values(), strict=True))
    )
    for key, original in zip(expected, expected if by_name else weights, strict=True):
        _check(where, key, expected[key], original, tensors[key])
    return {f"network.{key}": tensors[key] for key in headless}


def _check(where: str, key: str, expected: Tensor, original: str, tensor: Tensor) -> None:
    same_kind = key.rpartition(".")[2] == original.rpartition(".")[2]
    if not same_kind or expected.shape != tensor.shape:
        raise _mismatch(
            where, f"{key} {tuple(expected.shape)}", f"{original} {tuple(tensor.shape)}"
        )


def _mismatch(where: str, expected: str, found: str) -> EncoderError:
    mend = "set content.image_encoder.name to the model that the weights belong to"
    return EncoderError(explain(where, expected=expected, found=found, mend=mend))


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
        mend = f"did you mean {near!r}?"
        raise EncoderError(
            explain(
                "content.image_encoder.name",
                expected="a model of timm",
                found=repr(name),
                mend=mend,
            )
        )
