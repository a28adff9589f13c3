from __future__ import annotations

import torch

from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.skip_init import SkipInit


def test_linear_layers_draw_nothing() -> None:
    before = torch.get_rng_state()
    with SkipInit():
        layer = torch.nn.Linear(3, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.shape == (4, 3)


def test_a_filled_module_is_the_same_as_without() -> None:
    config = DiTConfig(channels=4, text_dim=8, width=16, blocks=1, heads=2)
    plain = DiT(config)
    with SkipInit():
        skipped = DiT(config)
    skipped.load_state_dict(plain.state_dict())
    x, t = torch.ones(1, 4, 3), torch.zeros(1)
    text = {"text_embeds": torch.ones(1, 2, 8), "text_mask": torch.ones(1, 2, dtype=torch.bool)}
    assert torch.equal(plain(x, t, **text), skipped(x, t, **text))


def test_loading_a_transformer_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    with SkipInit():
        network = DiT(DiTConfig(channels=4, text_dim=8, width=16, blocks=1, heads=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in network.parameters())
