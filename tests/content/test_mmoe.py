"""Eq. 1 and Eq. 2, recomputed with numpy from the weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.content.mmoe import MMoE, cross_entropy

B, D, H, E, TOWER, CLASSES = 5, 6, 12, 4, 3, (2, 5, 7)


@pytest.fixture
def mmoe() -> MMoE:
    torch.manual_seed(1)
    return MMoE(width=D, classes=CLASSES, experts=H, expert_width=E, tower_width=TOWER)


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(B, D, generator=torch.Generator().manual_seed(2))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def linear(x: np.ndarray, layer: torch.nn.Linear) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def test_equation_1_expert_by_expert(mmoe, z):
    """p^k = h^k(sum_i g^k(z)_i f_i(z)), with one loop per sum of the formula."""
    x = z.numpy()
    weight, bias = mmoe.experts.weight.detach().numpy(), mmoe.experts.bias.detach().numpy()
    for k, logits in enumerate(mmoe(z)):
        gate = softmax(linear(x, mmoe.gates[k]))
        mixed = np.zeros((B, E))
        for i in range(H):
            of_expert = slice(i * E, (i + 1) * E)
            f_i = np.maximum(x @ weight[of_expert].T + bias[of_expert], 0)
            mixed += gate[:, i : i + 1] * f_i
        hidden = np.maximum(linear(mixed, mmoe.towers[k][0]), 0)
        np.testing.assert_allclose(
            logits.detach().numpy(), linear(hidden, mmoe.towers[k][2]), atol=1e-6
        )


def test_an_expert_that_a_gate_picks_alone_is_the_task_input(mmoe, z):
    """With g^1 = (0, ..., 0, 1) task 1 sees the last expert and nothing else."""
    with torch.no_grad():
        mmoe.gates[0].weight.zero_()
        mmoe.gates[0].bias.copy_(torch.tensor([-100.0] * (H - 1) + [100.0]))
    alone = mmoe.towers[0](mmoe.expert_outputs(z)[:, -1])
    torch.testing.assert_close(mmoe(z)[0], alone)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), scale=st.floats(0, 5))
def test_gates_are_positive_and_sum_to_one(seed, scale):
    torch.manual_seed(seed)
    mmoe = MMoE(width=D, classes=CLASSES, experts=H, expert_width=E, tower_width=TOWER)
    gates = mmoe.gate_weights(scale * torch.randn(B, D))
    assert gates.shape == (3, B, H)
    assert (gates > 0).all()
    torch.testing.assert_close(gates.sum(-1), torch.ones(3, B))


def test_gates_differ_between_tasks_and_videos(mmoe, z):
    gates = mmoe.gate_weights(z)
    assert not torch.allclose(gates[0], gates[1])
    assert not torch.allclose(gates[0, 0], gates[0, 1])


@pytest.mark.parametrize("task", range(3))
def test_each_task_trains_all_experts_but_only_its_own_gate_and_tower(mmoe, z, task):
    mmoe(z)[task].square().sum().backward()
    trained = {
        name for name, p in mmoe.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    own = {
        f"gates.{task}.weight",
        f"gates.{task}.bias",
        f"towers.{task}.0.weight",
        f"towers.{task}.2.weight",
    }
    others = {
        n for n in trained for other in set(range(3)) - {task} if n.split(".")[1] == str(other)
    }
    assert own <= trained
    assert not others
    per_expert = mmoe.experts.weight.grad.view(H, E * D).abs().sum(1)
    assert (per_expert > 0).all()


def test_equation_2_by_hand():
    """Two videos, tasks of 2 and 3 classes.

    Video 1: p^1 = (3/4, 1/4), y^1 = (1, 0); p^2 = (1/2, 1/4, 1/4), y^2 = (1, 1, 0). Video 2: p^1 =
    (1/2, 1/2), y^1 = (0, 1); p^2 = (1/3, 1/3, 1/3), y^2 = (0, 0, 0). As printed: task 1 (-ln 3/4 -
    ln 1/2) / 2, task 2 (-ln 1/2 - ln 1/4) / 2; normalised: task 2 is half of it.
    """
    p1 = torch.tensor([[3 / 4, 1 / 4], [1 / 2, 1 / 2]])
    p2 = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 3, 1 / 3, 1 / 3]])
    y1, y2 = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
    )
    task1, task2 = np.log([4 / 3, 2]).sum() / 2, np.log([2, 4]).sum() / 2
    for normalised, expected in ((False, [task1, task2]), (True, [task1, task2 / 2])):
        # Logits are log p plus any constant.
        loss = cross_entropy([p1.log() + 5, p2.log() - 3], [y1, y2], normalize_targets=normalised)
        np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-6)


def test_normalised_targets_weigh_a_video_of_many_tags_as_one_of_a_single_tag():
    logits = torch.zeros(2, 50)
    y = torch.zeros(2, 50)
    y[0, 0] = 1
    y[1, :40] = 1
    each = [
        cross_entropy([logits[i : i + 1]], [y[i : i + 1]], normalize_targets=True).item()
        for i in range(2)
    ]
    assert each[0] == pytest.approx(each[1])
    printed = [
        cross_entropy([logits[i : i + 1]], [y[i : i + 1]], normalize_targets=False).item()
        for i in range(2)
    ]
    assert printed[1] == pytest.approx(40 * printed[0])


def test_videos_neither_see_each_other_nor_their_order(mmoe, z):
    order = torch.tensor([3, 0, 4, 1, 2])
    for whole, permuted, single in zip(mmoe(z), mmoe(z[order]), mmoe(z[2:3]), strict=True):
        torch.testing.assert_close(permuted, whole[order])
        torch.testing.assert_close(single, whole[2:3])
