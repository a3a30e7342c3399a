"""z = [f_C, f_T]: its blocks, its missing halves, and how it is carried from run to run."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from producers.content.joint_model import JointModel, JointShape, carry_over
from producers.content.training import joint_representation
from vidtopics.errors import EncoderError
from vidtopics.settings import ContentSettings

CLASSES = (("music", "sport"), ("jazz", "rock", "ball"), ("sax", "live", "goal", "blue"))
YES, NO = torch.tensor([True]), torch.tensor([False])


def shape(**changes) -> JointShape:
    base = {
        "image_width": 5,
        "title_width": 4,
        "projection_width": 3,
        "experts": 2,
        "expert_width": 4,
        "tower_width": 4,
    }
    return JointShape(**{**base, "classes": CLASSES, **changes})


def model(seed: int = 0, **changes) -> JointModel:
    torch.manual_seed(seed)
    return JointModel(shape(**changes)).eval()


def inputs(rows: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(rows, 5, generator=random), torch.randn(rows, 4, generator=random)


def represent(joint: JointModel, *x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(joint_representation(joint, *(a.numpy() for a in x))[0])


@pytest.mark.parametrize("width", [0, 3])
def test_z_is_what_torch_makes_of_both_blocks(width):
    joint, x = model(projection_width=width), inputs(6)
    flags = [torch.tensor(rows) for rows in ([1, 1, 0, 0, 1, 1], [1, 0, 1, 0, 1, 1])]
    unit = [normalize(block, dim=1) for block in joint.blocks(*x, *flags)]
    expected = normalize(torch.cat(unit, dim=1), dim=1).detach()
    z = represent(joint, *x, *(f.bool() for f in flags))
    torch.testing.assert_close(z, expected, atol=1e-6, rtol=0)


def test_without_projection_z_is_the_encoders_outputs():
    """Image (3, 4, 0, 0, 0) and title (0, 2, 0, 0) have length 5 and 2: each is halved in z."""
    image, title = torch.tensor([[3.0, 4, 0, 0, 0]]), torch.tensor([[0.0, 2, 0, 0]])
    joint = model(projection_width=0)
    cover, words = joint.blocks(image, title, YES, YES)
    assert torch.equal(cover, image)
    assert torch.equal(words, title)
    z = represent(joint, image, title, YES, YES)
    np.testing.assert_allclose(
        z[0], np.array([0.6, 0.8, 0, 0, 0, 0, 1, 0, 0]) / np.sqrt(2), rtol=1e-6
    )


def test_projection_is_a_linear_map_brought_to_mean_0_and_variance_1():
    joint, (image, title) = model(), inputs()
    cover, words = joint.blocks(image, title, YES, YES)
    for block, x, layer in (
        (cover, image, joint.image_projection),
        (words, title, joint.title_projection),
    ):
        linear = layer.weight.detach().numpy() @ x[0].numpy() + layer.bias.detach().numpy()
        expected = (linear - linear.mean()) / np.sqrt(linear.var() + 1e-5)
        np.testing.assert_allclose(block[0].detach(), expected, rtol=1e-4)


def test_what_is_clustered_is_what_enters_the_experts():
    """Projected blocks have one length, so z for clustering is the MMoE's z times one number."""
    joint, (image, title) = model(projection_width=64), inputs(5)
    present = torch.ones(5, dtype=torch.bool)
    entering = torch.cat(joint.blocks(image, title, present, present), dim=1)
    torch.testing.assert_close(
        represent(joint, image, title, present, present) * 128**0.5, entering, atol=1e-3, rtol=1e-3
    )


def test_both_blocks_count_alike_whatever_their_scale():
    image, title = inputs()
    z = represent(model(projection_width=0), image * 1000, title / 1000, YES, YES)
    assert z[0, :5].norm().item() == pytest.approx(0.5**0.5)
    assert z[0, 5:].norm().item() == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    ("has_image", "has_title", "lengths"),
    [(YES, NO, (1.0, 0.0)), (NO, YES, (0.0, 1.0)), (NO, NO, (0.0, 0.0))],
)
def test_a_missing_modality_is_a_zero_block_and_the_rest_has_length_one(
    has_image, has_title, lengths
):
    joint, (image, title) = model(), inputs()
    z = represent(joint, image, title, has_image, has_title)
    assert (z[0, :3].norm().item(), z[0, 3:].norm().item()) == pytest.approx(lengths)


def test_what_a_missing_modality_holds_is_never_seen():
    """Neither by the representation nor by the prediction, the projection's bias included."""
    joint, (image, title) = model(), inputs()
    for x, y in zip(joint(image, title, NO, YES), joint(image + 9, title, NO, YES), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(joint.blocks(image, title, NO, YES)[0], torch.zeros(1, 3))


def test_gradient_of_every_task_reaches_both_projections():
    joint, (image, title) = model(), inputs(4)
    present = torch.ones(4, dtype=torch.bool)
    for logits in joint(image, title, present, present):
        joint.zero_grad()
        logits.square().sum().backward(retain_graph=True)
        assert joint.image_projection.weight.grad.abs().sum() > 0
        assert joint.title_projection.weight.grad.abs().sum() > 0


def test_shape_survives_json_and_follows_the_settings():
    made = JointShape.of(
        ContentSettings(projection_width=7), image_width=5, title_width=4, classes=CLASSES
    )
    assert (made.projection_width, made.experts, made.expert_width, made.block_widths) == (
        7,
        12,
        512,
        (7, 7),
    )
    assert JointShape.parse(json.loads(json.dumps(vars(made)))) == made


def test_carry_over_predicts_as_before_for_classes_that_stay():
    """Tags lose 'live', gain 'new' and change places; what is left of each logit is what it was."""
    old = model(seed=1)
    grown = (("sport", "music"), (*CLASSES[1], "folk"), ("blue", "new", "sax", "goal"))
    new = model(seed=2, classes=grown)
    drawn = new.mmoe.towers[2][2].weight[1].clone()
    carry_over(new, old)
    image, title = inputs(6)
    present = torch.ones(6, dtype=torch.bool)
    torch.testing.assert_close(
        represent(new, image, title, present, present),
        represent(old, image, title, present, present),
    )
    for k, (after, before) in enumerate(
        zip(new(image, title, present, present), old(image, title, present, present), strict=True)
    ):
        shared = [name for name in grown[k] if name in CLASSES[k]]
        torch.testing.assert_close(
            after[:, [grown[k].index(n) for n in shared]],
            before[:, [CLASSES[k].index(n) for n in shared]],
        )
    assert torch.equal(new.mmoe.towers[2][2].weight[1], drawn)


def test_carry_over_refuses_another_shape():
    with pytest.raises(EncoderError, match=r"projection_width: expected 3, found 8\. Mend"):
        carry_over(model(projection_width=8), model())
