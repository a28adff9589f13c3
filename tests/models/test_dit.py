"""The transformer: a sample never depends on its batch or padding."""

from __future__ import annotations

import pytest
import torch

from soundleap.models.dit import DiT, DiTConfig, rotary_angles, rotate

CONFIG = DiTConfig(channels=6, text_dim=8, width=32, blocks=2, heads=4)


def network(guided: bool = False) -> DiT:
    torch.manual_seed(0)
    made = DiT(DiTConfig(**{**CONFIG.__dict__, "guided": guided}))
    with torch.no_grad():  # some layers start at zero
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return made.eval()


def inputs(lengths: list[int], texts: list[int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    count = len(lengths)
    latent_mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    text_mask = torch.arange(max(texts)) < torch.tensor(texts)[:, None]
    embeds = torch.randn(count, max(texts), 8, generator=generator) * text_mask[:, :, None]
    return {
        "x_t": torch.randn(count, 6, max(lengths), generator=generator),
        "t": torch.rand(count, generator=generator) * 999,
        "text_embeds": embeds,
        "text_mask": text_mask,
        "latent_mask": latent_mask,
    }


@torch.no_grad()
def test_a_batch_is_its_single_samples() -> None:
    dit, lengths, texts = network(), [7, 12, 3], [5, 2, 9]
    batch = inputs(lengths, texts)
    together = dit(**batch)
    for i in range(3):
        single = dit(
            batch["x_t"][i : i + 1, :, : lengths[i]],
            batch["t"][i : i + 1],
            text_embeds=batch["text_embeds"][i : i + 1, : texts[i]],
            text_mask=batch["text_mask"][i : i + 1, : texts[i]],
        )
        torch.testing.assert_close(together[i, :, : lengths[i]], single[0], rtol=1e-5, atol=1e-5)
        assert (together[i, :, lengths[i] :] == 0).all()


@torch.no_grad()
def test_what_is_in_the_padding_does_not_matter() -> None:
    dit, batch = network(), inputs([4, 9], [3, 6])
    before = dit(**batch)
    batch["x_t"][0, :, 4:] = 100.0
    torch.testing.assert_close(dit(**batch), before, rtol=0, atol=1e-6)


@torch.no_grad()
def test_text_time_and_place_matter() -> None:
    dit, batch = network(), inputs([8, 8], [4, 4])
    before = dit(**batch)
    for name, changed in (
        ("t", batch["t"] / 2),
        ("text_embeds", batch["text_embeds"].flip(0)),
        ("x_t", batch["x_t"].flip(2)),
    ):
        after = dit(**{**batch, name: changed})
        assert float((after - before).abs().mean()) > 1e-3, name
    # moved latents do not give merely moved outputs: positions count
    assert (
        float((dit(**{**batch, "x_t": batch["x_t"].flip(2)}) - before.flip(2)).abs().max()) > 0.01
    )


def test_w_is_needed_by_guided_networks_and_refused_by_others() -> None:
    batch, w = inputs([4], [3]), torch.tensor([3.0])
    with pytest.raises(ValueError, match="w must be given"):
        network(guided=True)(**batch)
    with pytest.raises(ValueError, match="w must not be given"):
        network()(**batch, w=w)


@torch.no_grad()
def test_a_guided_copy_with_a_new_input_equals_the_teacher() -> None:
    teacher = network()
    guided = DiT(DiTConfig(**{**CONFIG.__dict__, "guided": True}))
    missing = guided.load_state_dict(teacher.state_dict(), strict=False)
    assert sorted(missing.missing_keys) == ["guidance.bias", "guidance.weight"]
    batch = inputs([4, 6], [3, 2])
    w = torch.tensor([1.0, 5.0])
    torch.testing.assert_close(guided(**batch, w=w), teacher(**batch), rtol=0, atol=0)


def test_a_new_network_predicts_zero() -> None:
    assert not DiT(CONFIG)(**inputs([4], [3])).any()


def test_rotation_keeps_lengths_and_depends_on_the_distance_alone() -> None:
    cosine, sine = rotary_angles(20, 8, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator).expand(-1, -1, -1, 20, -1)
    a, b = rotate(q, cosine, sine)[0, 0], rotate(k, cosine, sine)[0, 0]
    torch.testing.assert_close(a.norm(dim=1), q[0, 0].norm(dim=1))
    products = a @ b.T
    for distance in range(-5, 6):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_weights_in_half_precision_answer_in_the_type_they_are_asked_in() -> None:
    dit, batch = network(), inputs([7, 12], [5, 2])
    expected = dit(**batch)
    found = dit.to(torch.bfloat16)(**batch)
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.05
