"""Covers and titles through tiny random encoders: rows belong to their videos in any batch."""

import io
import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast

from producers.content.encoding import DECODED_AHEAD, encode, encode_covers, encode_titles
from producers.content.image_encoder import ImageEncoder
from producers.content.title_encoder import TitleEncoder
from vidtopics.images import decode_cover

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "night", "day"]
LIMIT = 10_000


def png(seed: int, side: int = 24) -> bytes:
    data = io.BytesIO()
    Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def image_encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("test_efficientnet", pixels=32).eval()


@pytest.fixture(scope="module")
def title_encoder() -> TitleEncoder:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
    return TitleEncoder(BertModel(config), tokenizer, max_tokens=8).eval()


COVERS = [
    png(0),
    None,
    png(1),
    b"not an image",
    png(2, side=200),
    png(3)[:200],
    png(4),
    png(5),
    png(0),
]
TITLES = [
    "red",
    "",
    "green blue night day red",
    " \t",
    "blue",
    "night",
    "day green",
    "red red red red red red red",
    "red",
]


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
def test_rows_do_not_depend_on_the_batch(image_encoder, title_encoder, batch):
    result = encode(
        image_encoder,
        title_encoder,
        COVERS,
        TITLES,
        max_pixels=LIMIT,
        image_batch=batch,
        title_batch=batch,
    )
    for i, (data, title) in enumerate(zip(COVERS, TITLES, strict=True)):
        cover = decode_cover(data, max_pixels=LIMIT)
        assert result.problems[i] == cover.problem
        image = torch.zeros(1, image_encoder.width)
        words = torch.zeros(1, title_encoder.width)
        with torch.inference_mode():
            if cover.pixels is not None:
                image = image_encoder(torch.from_numpy(image_encoder.transform(cover.pixels))[None])
            if title.strip():
                words = title_encoder(title_encoder.tokens([title]))
        np.testing.assert_allclose(result.image[i], image[0], atol=1e-5)
        np.testing.assert_allclose(result.title[i], words[0], atol=1e-5)
    assert result.problems == (
        None,
        "missing",
        None,
        "unreadable",
        "bomb",
        "truncated",
        None,
        None,
        None,
    )
    assert result.has_image.tolist() == [True, False, True, False, False, False, True, True, True]
    assert result.has_title.tolist() == [True, False, True, False, True, True, True, True, True]
    assert (
        np.abs(result.image[2] - result.image[0]).max() > 1e-3
    )  # the encoder does tell covers apart


def test_the_encoder_gets_channels_last_and_covers_alone(image_encoder, monkeypatch):
    """As its convolutions want them on a CPU: else each batch is copied into that order."""
    inputs, forward = [], image_encoder.forward
    monkeypatch.setattr(image_encoder, "forward", lambda x: inputs.append(x) or forward(x))
    encode_covers(image_encoder, COVERS, max_pixels=LIMIT, batch_size=4)
    assert sum(len(x) for x in inputs) == 5  # of nine files
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in inputs)


def test_a_catalogue_without_any_cover_or_title(image_encoder, title_encoder):
    result = encode(
        image_encoder,
        title_encoder,
        [None] * 3,
        [""] * 3,
        max_pixels=1,
        image_batch=2,
        title_batch=2,
    )
    assert not result.image.any()
    assert not result.title.any()
    assert result.image.shape == (3, image_encoder.width)


def test_an_empty_catalogue(image_encoder, title_encoder):
    result = encode(
        image_encoder, title_encoder, [], [], max_pixels=1, image_batch=2, title_batch=2
    )
    assert (len(result.image), len(result.title), result.problems) == (0, 0, ())


def test_a_model_left_in_training_mode_is_put_into_evaluation(image_encoder):
    expected, _ = encode_covers(image_encoder, [png(0), png(1)], max_pixels=LIMIT, batch_size=2)
    image_encoder.train()
    encodings, _ = encode_covers(image_encoder, [png(0), png(1)], max_pixels=LIMIT, batch_size=2)
    np.testing.assert_array_equal(encodings, expected)


class CountingCovers:
    """Covers as files would be read: notes how far reading is ahead of encoding."""

    def __init__(self, count: int) -> None:
        self.data, self.count = png(0), count
        self.read = self.encoded = self.ahead = 0
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> bytes:
        with self.lock:
            self.read += 1
            self.ahead = max(self.ahead, self.read - self.encoded)
        return self.data


def test_covers_are_not_all_held_in_memory(image_encoder):
    covers = CountingCovers(3 * DECODED_AHEAD)
    seen = []

    def progress(done: int, total: int) -> None:
        covers.encoded = done
        seen.append((done, total))

    encode_covers(image_encoder, covers, max_pixels=LIMIT, batch_size=8, progress=progress)
    assert covers.read == len(covers)
    assert covers.ahead <= DECODED_AHEAD + 8 * (
        (os.cpu_count() or 1) + 2
    )  # a batch a core, one waiting, one counted late
    assert seen == [(done, len(covers)) for done in range(8, len(covers) + 1, 8)]


def test_title_is_the_mean_over_its_own_tokens(title_encoder):
    """[CLS] red green [SEP], four vectors of the last layer, though padded to eight."""
    encodings, _ = encode_titles(title_encoder, ["red green", "red " * 20], batch_size=2)
    tokens = title_encoder.tokens(["red green"])
    with torch.inference_mode():
        states = title_encoder.transformer(**tokens).last_hidden_state
    assert states.shape == (1, 4, 16)
    np.testing.assert_allclose(encodings[0], states[0].numpy().mean(0), atol=1e-5)


def test_titles_are_cut_to_max_tokens(title_encoder):
    """Eight tokens are [CLS], six words, [SEP]: the seventh word is not seen, the sixth is."""
    six, seven, other = "red " * 6, "red " * 6 + "blue", "red " * 5 + "blue"
    encodings, _ = encode_titles(title_encoder, [six, seven, other], batch_size=3)
    np.testing.assert_allclose(encodings[0], encodings[1], atol=1e-6)
    assert np.abs(encodings[0] - encodings[2]).max() > 1e-4


def test_titles_of_one_length_share_a_batch(title_encoder, monkeypatch):
    """By tokens, not by characters: an unknown word is one token however long it is."""
    masks, forward = [], title_encoder.forward
    monkeypatch.setattr(
        title_encoder, "forward", lambda x: masks.append(x["attention_mask"]) or forward(x)
    )
    titles = ["red red red", "x" * 12, "blue blue blue", "y" * 15]
    encode_titles(title_encoder, titles, batch_size=2)
    assert sorted(tuple(mask.shape) for mask in masks) == [(2, 3), (2, 5)]
    assert all(bool(mask.all()) for mask in masks)


def test_linear_layers_are_onednns_while_titles_are_encoded(title_encoder, monkeypatch):
    layers = [x for x in title_encoder.modules() if isinstance(x, torch.nn.Linear)]
    changed, forward = [], title_encoder.forward

    def note(tokens):
        changed.extend("forward" in layer.__dict__ for layer in layers)
        return forward(tokens)

    monkeypatch.setattr(title_encoder, "forward", note)
    encode_titles(title_encoder, ["red"], batch_size=1)
    assert changed == [True] * len(layers)
    assert not any("forward" in layer.__dict__ for layer in layers)
