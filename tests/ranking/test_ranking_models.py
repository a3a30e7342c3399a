"""Each model is its formula, and reads what its pieces let in and nothing else."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from batches import SIZES, make_batch
from torch.nn import functional

from consumers.ranking.examples import Batch, SharedBatch
from consumers.ranking.models import MODELS, VARIANTS, Pieces, Widths, compose, layers
from consumers.ranking.models.layers import Bag, Table, overlap
from consumers.ranking.train import build

WIDTHS = Widths(embedding=3, topic=2, hidden=(6, 4))
READ_BY = {
    "ids": ("topics", "topic_weights", "history_topics", "history_weights"),
    "parents": ("parents", "topic_weights", "history_parents", "history_weights"),
    "match": ("topic_numbers",),
    "tiers": ("topic_numbers",),
    "attention": (
        "topics",
        "topic_weights",
        "parents",
        "history_topics",
        "history_parents",
        "history_weights",
    ),
    "cover": ("cover",),
}
TOPIC_TENSORS = {name for names in READ_BY.values() for name in names}


def built(name, pieces, seed=3):
    """A model whose every parameter counts, the zeros of a fresh one as well."""
    model = build(name, SIZES, pieces, WIDTHS, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model.eval()


def changed(batch, names, seed=9):
    other = make_batch(seed=seed)
    return replace(batch, **{name: getattr(other, name) for name in names})


def weights_of(module):
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_topics_does_not_look_at_them(name):
    model, batch = built(name, Pieces()), make_batch()
    assert torch.equal(model(batch), model(changed(batch, TOPIC_TENSORS)))
    assert not [n for n, _ in model.named_parameters() if "topic" in n or "parent" in n]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("piece", READ_BY)
def test_a_piece_lets_in_what_it_names_and_nothing_else(name, piece):
    model, batch = built(name, Pieces(**{piece: True})), make_batch()
    scores = model(batch)
    others = TOPIC_TENSORS - set(READ_BY[piece])
    assert torch.equal(scores, model(changed(batch, others)))
    if piece == "attention" and name != "din":
        assert torch.equal(scores, model(changed(batch, TOPIC_TENSORS)))
        return
    for tensor in READ_BY[piece]:
        assert not torch.equal(scores, model(changed(batch, [tensor]))), tensor


@pytest.mark.parametrize("name", MODELS)
def test_scores_without_gradients_are_those_with_them(name):
    """Which take another way through embeddings."""
    model, batch = built(name, VARIANTS["topics"]), make_batch()
    with torch.inference_mode():
        inferred = model(batch)
    torch.testing.assert_close(inferred, model(batch), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("error")  # torch's of layers without an input
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("piece", READ_BY)
def test_a_head_of_one_piece_is_built_in_silence(name, piece):
    build(name, SIZES, Pieces(**{piece: True}).head, WIDTHS, seed=3)


def test_match_and_tiers_are_columns_of_their_own():
    batch = make_batch()
    for piece, read, other in (("match", [0, 1], [2, 3]), ("tiers", [2, 3], [0, 1])):
        model = built("lr", Pieces(**{piece: True}))
        numbers = batch.topic_numbers.clone()
        numbers[:, other] += 1
        assert torch.equal(model(batch), model(replace(batch, topic_numbers=numbers)))
        numbers[:, read] += 1
        assert not torch.equal(model(batch), model(replace(batch, topic_numbers=numbers)))


HISTORY = [f.name for f in fields(Batch) if f.name.startswith("history_")]


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].shares_history])
def test_histories_that_rows_share_count_as_those_of_each(name):
    row = torch.tensor([0, 0, 1, 1, 1, 2])
    model, batch = built(name, VARIANTS["topics"]), make_batch()
    once = replace(batch, **{n: getattr(batch, n)[[0, 2, 5]] for n in HISTORY})
    few = SharedBatch(**vars(once), history_row=row)
    many = replace(batch, **{n: getattr(once, n)[row] for n in HISTORY})
    assert not torch.equal(model(many), model(batch))
    torch.testing.assert_close(model(few), model(many))


@pytest.mark.parametrize("name", MODELS)
def test_padding_of_a_history_counts_for_nothing(name):
    model, batch = built(name, VARIANTS["topics"]), make_batch()
    other, padding = make_batch(seed=9), ~batch.history_mask
    wide = padding[..., None]
    junk = replace(
        batch,
        history_videos=torch.where(padding, other.history_videos, batch.history_videos),
        history_clicked=torch.where(padding, True, batch.history_clicked),
        history_ages=torch.where(padding, other.history_ages, batch.history_ages),
        history_topics=torch.where(wide, other.history_topics, batch.history_topics),
        history_parents=torch.where(wide, other.history_parents, batch.history_parents),
    )
    assert padding.any()
    assert torch.allclose(model(batch), model(junk), atol=1e-6)


def test_lr_by_hand():
    model, batch = built("lr", VARIANTS["topics + cover"]), make_batch()
    w, plain = weights_of(model), {f.name: getattr(batch, f.name).numpy() for f in fields(batch)}
    expected = []
    for n in range(len(batch)):
        row = {name: values[n] for name, values in plain.items()}
        clicked = row["history_mask"] & row["history_clicked"]
        skipped = row["history_mask"] & ~row["history_clicked"]
        terms = [w["fields.user.weight"][row["user"], 0], w["fields.video.weight"][row["video"], 0]]
        for mask in (clicked, skipped):
            videos = row["history_videos"][mask]
            terms.append(w["fields.video.weight"][videos, 0].mean() if len(videos) else 0)
        for level in ("topic", "parent"):
            table = w[f"fields.{level}.weight"][:, 0]
            codes, past = row[f"{level}s"], row[f"history_{level}s"][clicked]
            own = mean_of_slots(table, codes, row["topic_weights"])
            each = [
                mean_of_slots(table, c, s)
                for c, s in zip(past, row["history_weights"][clicked], strict=True)
            ]
            liked = np.mean(each) if each else 0
            terms += [own, liked, own * liked]
        numbers = np.concatenate([row["numbers"], row["topic_numbers"], row["cover"]])
        odds = w["linear.weight"][0] @ np.clip(numbers, -5, 5) + w["linear.bias"][0]
        expected.append(odds + w["places"] @ terms)
    assert model(batch).detach().numpy() == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_topics_are_a_head_beside_the_model_without_them(name):
    torch.manual_seed(1)
    model, batch = compose(name, SIZES, VARIANTS["topics"], WIDTHS).eval(), make_batch()
    with torch.no_grad():
        for parameter in model.base.parameters():
            parameter.normal_()
    model.head.zero_output()
    assert torch.equal(model(batch), model.base(batch))
    ids = ["user", "video", "history_videos"]
    read = [name for name in ids if not torch.equal(model(batch), model(changed(batch, [name])))]
    assert set(read) >= {"user", "video"}
    head = built(name, VARIANTS["topics"].head)
    assert torch.equal(head(batch), head(changed(batch, ids)))
    assert not torch.equal(head(batch), head(changed(batch, TOPIC_TENSORS)))


def mean_of_slots(table, codes, weights):
    used = codes > 0
    return (table[codes[used]] * weights[used]).sum() / weights[used].sum() if used.any() else 0


def test_wide_and_deep_is_the_sum_of_its_parts_and_emlp_a_perceptron():
    model, batch = built("wide_and_deep", VARIANTS["topics"]), make_batch()
    assert torch.equal(model(batch), model.wide(batch) + model.deep(batch))
    inputs = torch.cat([model.deep.fields(batch), model.deep.numbers(batch)], 1)
    linear = [m for m in model.deep.deep if isinstance(m, torch.nn.Linear)]
    for layer, following in pairwise(linear):
        inputs = torch.relu(inputs @ layer.weight.T + layer.bias)
        assert layer.out_features == following.in_features
    assert torch.allclose(
        model.deep(batch), (inputs @ linear[-1].weight.T + linear[-1].bias)[:, 0], atol=1e-5
    )


def test_dcn_by_hand():
    model, batch = built("dcn", VARIANTS["topics"]), make_batch()
    first = torch.cat([model.fields(batch), model.numbers(batch)], 1).double()
    w = {name: p.detach().double() for name, p in model.named_parameters()}
    state = first
    for step in range(WIDTHS.crosses):
        linear = state @ w[f"cross.steps.{step}.weight"].T + w[f"cross.steps.{step}.bias"]
        state = first * linear + state
    hidden = torch.relu(first @ w["deep.0.weight"].T + w["deep.0.bias"])
    hidden = torch.relu(hidden @ w["deep.2.weight"].T + w["deep.2.bias"])
    odds = torch.cat([state, hidden], 1) @ w["out.weight"].T + w["out.bias"]
    assert torch.allclose(model(batch).double(), odds[:, 0], rtol=1e-4, atol=1e-4)


def test_din_attends_by_hand():
    model, batch = built("din", VARIANTS["topics"]), make_batch(rows=4, places=3)
    w = weights_of(model)
    table, score = w["fields.video.weight"], model.attention.score.double()
    seen = []
    model.deep.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    model.float()(batch)
    similar = [overlap(batch, SIZES.topics, 3), overlap(batch, SIZES.parents, 3, parents=True)]
    for n in range(4):
        own, parts, amounts = table[batch.video[n]], np.zeros((2, 3)), np.zeros(2)
        for h in range(3):
            if not batch.history_mask[n, h]:
                continue
            past, clicked = table[batch.history_videos[n, h]], int(batch.history_clicked[n, h])
            row = [*past, *past * own, clicked, batch.history_ages[n, h].item() / 5]
            with torch.no_grad():
                logit = score.double()(torch.tensor(row, dtype=torch.float64)).item()
            logit += sum(
                u * s[n, h].item() for u, s in zip(w["attention.bias"], similar, strict=True)
            )
            attention = 1 / (1 + np.exp(-logit)) / 3
            parts[1 - clicked] += attention * past
            amounts[1 - clicked] += attention
        expected = np.concatenate([parts.reshape(-1), amounts])
        assert seen[0][n, -8:].detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_overlap_is_a_double_sum():
    batch = make_batch()
    got = overlap(batch, SIZES.topics, 5)
    for n in range(len(batch)):
        for h in range(batch.history_mask.shape[1]):
            total = 0.0
            a, b = batch.topic_weights[n] * (batch.topics[n] > 0), batch.history_weights[n, h]
            b = b * (batch.history_topics[n, h] > 0)
            for k in range(8):
                for j in range(8):
                    same = batch.topics[n, k] == batch.history_topics[n, h, j]
                    total += float(a[k] * b[j] * same)
            norm = float(a.sum() * b.sum())
            assert float(got[n, h]) == pytest.approx(total / norm if norm else 0, abs=1e-5)


def test_bags_are_those_of_torch_with_their_gradients():
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(9, 4, generator=generator, requires_grad=True)
    rows = torch.randint(0, 9, (5, 6), generator=generator)
    weights = torch.rand(5, 6, generator=generator)
    target = torch.randn(5, 4, generator=generator)
    sums = Bag.apply(table, rows, weights)
    peer = functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
    assert torch.allclose(sums, peer, atol=1e-6)
    ours, theirs = (torch.autograd.grad((value * target).sum(), table)[0] for value in (sums, peer))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_mixtures_are_those_of_tensor_operations():
    batch = make_batch()
    places = torch.rand(batch.history_mask.shape) * batch.history_mask
    shares = layers.slot_shares(batch.history_topics, batch.history_weights) * places[..., None]
    expected = torch.zeros(len(batch), SIZES.topics)
    expected.scatter_add_(1, batch.history_topics.flatten(1), shares.flatten(1))
    got = layers.mixture(batch.history_topics, batch.history_weights, places, SIZES.topics)
    assert torch.allclose(got, expected, atol=1e-6)


def test_a_hashed_table_keeps_the_unknown_apart_and_spreads_the_rest():
    table = Table(1_000_000, 2, limit=1_001)
    rows = table.rows_of(torch.arange(1_000_000))
    counts = torch.bincount(rows, minlength=1_001)
    assert counts[0] == 1
    assert counts[1:].min() > 800 < counts[1:].max() < 1_200
    small = Table(50, 2, limit=1_001)
    assert small.rows_of(torch.arange(50)).tolist() == list(range(50))
    codes = torch.tensor([[5, 999_999], [0, 3]])
    assert torch.equal(table(codes), table.weight[table.rows_of(codes)])


@pytest.mark.parametrize("name", MODELS)
def test_millions_of_users_and_videos_fit_beside_their_optimizer(name):
    many = replace(SIZES, users=2_300_000, videos=2_300_000, topics=6_000)
    torch.manual_seed(1)
    model = compose(name, many, VARIANTS["topics + cover"], Widths())
    numbers = sum(p.numel() for p in model.parameters())
    assert numbers * 4 * 4 < 200 * 2**20  # float32: weights, gradients, Adam's two moments
