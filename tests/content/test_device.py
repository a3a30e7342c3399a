"""Linear layers by oneDNN: the same products, for as long as they are asked for."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from producers.content.device import linear_layers_by_onednn


@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_doubles(bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 40, bias=bias), torch.randn(2, 7, 300)
    exact = x.double().numpy() @ layer.weight.detach().double().numpy().T
    if bias:
        exact = exact + layer.bias.detach().double().numpy()
    with (
        linear_layers_by_onednn(layer),
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU]) as events,
    ):
        result = layer(x)
    assert "aten::mkldnn_linear" in {event.key for event in events.key_averages()}
    assert result.shape == (2, 7, 40)
    np.testing.assert_allclose(result.numpy(), exact, atol=1e-5)


def test_layers_are_torchs_again_after_an_error():
    layer = nn.Linear(3, 2)
    with (
        pytest.raises(RuntimeError, match="primitive"),
        linear_layers_by_onednn(nn.Sequential(layer)),
    ):
        layer(torch.ones(1, 4))
    assert "forward" not in layer.__dict__
    layer(torch.ones(1, 3)).sum().backward()  # trains as before
    assert layer.weight.grad is not None


class Doubled(nn.Linear):
    """A layer that computes something else than its class's base."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_other_layers_stay_as_they_are():
    x = torch.ones(1, 3)
    for layer in (Doubled(3, 2), nn.Linear(3, 2).double(), nn.Linear(3, 2).bfloat16()):
        typed = x.to(layer.weight.dtype)
        before = layer(typed)
        with linear_layers_by_onednn(layer):
            assert torch.equal(layer(typed), before)
