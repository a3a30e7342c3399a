"""End to end on tiny encoders with drawn covers: what Eq. 2 must do to f_C, f_T and z."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import silhouette_score
from transformers import BertConfig, BertModel, BertTokenizerFast

from producers.content.dataset import make_targets
from producers.content.encoding import encode
from producers.content.fine_tuning import EndToEndModel, fine_tune
from producers.content.image_encoder import ImageEncoder
from producers.content.title_encoder import TitleEncoder
from producers.content.training import joint_representation
from vidtopics.errors import ContractError
from vidtopics.settings import ContentSettings, ImageEncoderSettings

SHAPES, MOODS = ("disc", "bars"), ("calm", "loud")
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "calm",
    "loud",
    *(f"w{i}" for i in range(20)),
]
LIMIT = 10_000
VIDEOS = 64


def draw(shape: str, random: np.random.Generator) -> bytes:
    """A disc or bars in random colours and place, so that no single pixel tells them apart."""
    ground, ink = (tuple(int(c) for c in random.integers(0, 256, 3)) for _ in range(2))
    image = Image.new("RGB", (40, 40), ground)
    pen = ImageDraw.Draw(image)
    x, y = (int(v) for v in random.integers(0, 12, 2))
    if shape == "disc":
        pen.ellipse((x, y, x + 26, y + 26), fill=ink)
    else:
        for i in range(0, 28, 6):
            pen.rectangle((x + i, y, x + i + 2, y + 26), fill=ink)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def videos(seed: int = 0):
    """Primary class: the cover's shape; secondary: shape and mood, a word of the title."""
    random = np.random.default_rng(seed)
    shape = [SHAPES[i % 2] for i in range(VIDEOS)]
    mood = [MOODS[i // 2 % 2] for i in range(VIDEOS)]
    covers: list[bytes | None] = [draw(s, random) for s in shape]
    titles = [" ".join([f"w{random.integers(20)}", m, f"w{random.integers(20)}"]) for m in mood]
    label = np.array(
        [2 * SHAPES.index(s) + MOODS.index(m) for s, m in zip(shape, mood, strict=True)]
    )
    targets = make_targets(
        [[s] for s in shape],
        [[s + m] for s, m in zip(shape, mood, strict=True)],
        [[m] for m in mood],
        min_tag_videos=2,
        max_tags=9,
    )
    return covers, titles, targets, label


def encoders(dropout: float = 0.0) -> tuple[ImageEncoder, TitleEncoder]:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
    return ImageEncoder("test_efficientnet", pixels=32), TitleEncoder(
        BertModel(config), tokenizer, max_tokens=8
    )


def settings(piece: int = 16, **changes) -> ContentSettings:
    base = {
        "experts": 4,
        "expert_width": 16,
        "tower_width": 16,
        "batch_size": 32,
        "iterations": 40,
        "learning_rate": 3e-3,
    }
    return ContentSettings(
        image_encoder=ImageEncoderSettings(batch_size=piece), **{**base, **changes}
    )


def representation(joint, image_encoder, title_encoder, covers, titles) -> np.ndarray:
    e = encode(
        image_encoder,
        title_encoder,
        covers,
        titles,
        max_pixels=LIMIT,
        image_batch=64,
        title_batch=64,
    )
    return joint_representation(joint, e.image, e.title, e.has_image, e.has_title)[0]


def test_fine_tuning_teaches_both_encoders_the_planted_classes():
    covers, titles, targets, label = videos()
    image_encoder, title_encoder = encoders()
    start = {k: v.clone() for e in (image_encoder, title_encoder) for k, v in e.named_parameters()}
    untrained = fine_tune(
        *encoders(),
        covers,
        titles,
        targets,
        settings(iterations=1, learning_rate=1e-9),
        seed=1,
        max_pixels=LIMIT,
    )
    before = representation(untrained.model, image_encoder, title_encoder, covers, titles)
    seen = []
    trained = fine_tune(
        image_encoder,
        title_encoder,
        covers,
        titles,
        targets,
        settings(),
        seed=1,
        max_pixels=LIMIT,
        progress=lambda done, total: seen.append((done, total)),
    )
    after = representation(trained.model, image_encoder, title_encoder, covers, titles)
    assert trained.losses.shape == (40, 3)
    assert (trained.losses[-5:].mean(0) < 0.7 * trained.losses[:2].mean(0)).all()
    for encoder in (image_encoder, title_encoder):
        moved = [n for n, p in encoder.named_parameters() if not torch.equal(p, start[n])]
        assert len(moved) > 0.8 * len(list(encoder.parameters()))
    assert silhouette_score(after, label) > silhouette_score(before, label) + 0.2
    unseen_covers, unseen_titles, _, unseen_label = videos(seed=1)
    unseen = representation(
        trained.model, image_encoder, title_encoder, unseen_covers, unseen_titles
    )
    assert silhouette_score(unseen, unseen_label) > silhouette_score(before, label) + 0.05
    assert seen[-1] == (40, 40)


def test_pieces_of_a_batch_add_up_to_the_batch():
    covers, titles, targets, _ = videos()
    covers[3], titles[4] = None, ""
    losses = []
    for piece in (32, 5):
        image_encoder, title_encoder = encoders()
        short = settings(piece, iterations=3, learning_rate=1e-3)
        losses.append(
            fine_tune(
                image_encoder,
                title_encoder,
                covers,
                titles,
                targets,
                short,
                seed=1,
                max_pixels=LIMIT,
            ).losses
        )
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_same_seed_same_losses_with_dropout_and_the_global_state_untouched():
    covers, titles, targets, _ = videos()
    short = settings(iterations=2)
    runs = []
    for seed in (1, 1, 2):
        image_encoder, title_encoder = encoders(dropout=0.3)
        torch.manual_seed(77)
        state = torch.get_rng_state()
        runs.append(
            fine_tune(
                image_encoder,
                title_encoder,
                covers,
                titles,
                targets,
                short,
                seed=seed,
                max_pixels=LIMIT,
            ).losses
        )
        assert torch.equal(torch.get_rng_state(), state)
    assert runs[0].tobytes() == runs[1].tobytes() != runs[2].tobytes()


def test_batch_normalisation_keeps_its_statistics():
    covers, titles, targets, _ = videos()
    image_encoder, title_encoder = encoders()
    before = {k: v.clone() for k, v in image_encoder.named_buffers()}
    fine_tune(
        image_encoder,
        title_encoder,
        covers,
        titles,
        targets,
        settings(iterations=2),
        seed=1,
        max_pixels=LIMIT,
    )
    assert before
    for key, value in image_encoder.named_buffers():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("task", range(3))
def test_gradient_of_each_task_reaches_both_encoders(task):
    image_encoder, title_encoder = encoders()
    covers, titles, targets, _ = videos()
    joint = fine_tune(
        image_encoder,
        title_encoder,
        covers,
        titles,
        targets,
        settings(iterations=1),
        seed=1,
        max_pixels=LIMIT,
    ).model
    model = EndToEndModel(image_encoder, title_encoder, joint)
    present = torch.ones(2, dtype=torch.bool)
    model.zero_grad()
    model(torch.randn(2, 3, 32, 32), title_encoder.tokens(titles[:2]), present, present)[
        task
    ].square().sum().backward()
    assert model.image_encoder.network.conv_stem.weight.grad.abs().sum() > 0
    assert model.title_encoder.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_a_missing_modality_teaches_its_encoder_nothing():
    _covers, titles, targets, _ = videos()
    image_encoder, title_encoder = encoders()
    start = {k: v.clone() for k, v in image_encoder.named_parameters()}
    fine_tune(
        image_encoder,
        title_encoder,
        [None] * VIDEOS,
        titles,
        targets,
        settings(iterations=2),
        seed=1,
        max_pixels=LIMIT,
    )
    assert all(torch.equal(p, start[k]) for k, p in image_encoder.named_parameters())


@pytest.mark.timeout(60)
def test_no_video_to_train_on_is_refused_at_once():
    targets = make_targets([], [], [], min_tag_videos=2, max_tags=9)
    with pytest.raises(ContractError, match="at least 1 video to learn from, found 0"):
        fine_tune(*encoders(), [], [], targets, ContentSettings(), seed=1, max_pixels=LIMIT)
