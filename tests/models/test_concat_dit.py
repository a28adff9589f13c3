"""The transformer of AudioLCM and Make-An-Audio 2: reference tensors, sizes, limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.diffusion.guidance import guidance_embedding
from soundleap.errors import InputError
from soundleap.importers.keys_1d import concat_dit_config, concat_dit_state
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig

EXTRACTS = Path(__file__).parents[1] / "golden"
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
TINY = ConcatDiTConfig(channels=6, text_dim=8, width=32, blocks=2, heads=4, max_positions=24)


def load(path: Path, *, guided: bool) -> tuple[ConcatDiT, dict[str, Tensor]]:
    if not path.exists():
        pytest.skip(f"no reference tensors at {path}")
    tensors = load_file(path)
    published = {k.removeprefix("weights/"): v for k, v in tensors.items() if "weights/" in k}
    network = ConcatDiT(concat_dit_config(published, heads=4, guided=guided))
    network.load_state_dict(concat_dit_state(published, guided=guided))
    return network.eval(), tensors


def assert_near(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def make(guided: bool = False, config: ConcatDiTConfig = TINY) -> ConcatDiT:
    torch.manual_seed(0)
    network = ConcatDiT(replace(config, guided=guided))
    with torch.no_grad():  # some layers start at zero
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return network.eval()


def inputs(batch: int = 3, length: int = 9) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x_t": torch.randn(batch, 6, length, generator=generator),
        "t": torch.rand(batch, generator=generator) * 999,
        "text_embeds": torch.randn(batch, 10, 8, generator=generator),
        "text_mask": torch.ones(batch, 10, dtype=torch.bool),
    }


@torch.no_grad()
def test_extract_of_the_reference() -> None:
    network, tensors = load(EXTRACTS / "n1_concat_dit.safetensors", guided=False)
    found = network(tensors["out/x_noisy"], tensors["in/t"], text_embeds=tensors["in/cond"])
    assert_near(found, tensors["out/teacher_eps_cond"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["t0", "t1"])
def test_golden_outputs(name: str) -> None:
    path = GOLDEN / "audiolcm_concatdit2mlp_a.safetensors"
    guided, tensors = load(path, guided=True)
    plain, _ = load(path, guided=False)  # the guidance input can be dropped
    x, t, context = tensors["in/x"], tensors[f"in/{name}"], tensors["in/context"]
    assert_near(plain(x, t, text_embeds=context), tensors[f"out/{name}/no_w"])
    embedded = guided.t_embedder(t, tensors["in/w_cond"])
    assert_near(embedded, tensors[f"out/{name}/t_embedder_with_w"])
    seen: list[Tensor] = []
    for block in guided.blocks:
        block.register_forward_hook(lambda _block, _args, output: seen.append(output))
    found = guided.predict(x, t, context, tensors["in/w_cond"])
    assert_near(found, tensors[f"out/{name}/with_w"])
    if name == "t0":
        for i, after in enumerate(seen):
            assert_near(after, tensors[f"out/t0/block{i}_with_w"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_golden_gradients(checkpointing: bool) -> None:
    network, tensors = load(GOLDEN / "audiolcm_concatdit2mlp_a.safetensors", guided=True)
    network.checkpointing = checkpointing
    found = network.predict(
        tensors["in/x"], tensors["in/t0"], tensors["in/context"], tensors["in/w_cond"]
    )
    loss = (found**2).mean()
    loss.backward()
    torch.testing.assert_close(loss, tensors["out/grad/loss"])
    parameters = dict(network.named_parameters())
    names = [k.removeprefix("out/grad/") for k in tensors if k.startswith("out/grad/")]
    assert len(names) == 6
    for name in set(names) - {"loss"}:
        gradient = parameters[name].grad
        assert gradient is not None
        assert_near(gradient, tensors[f"out/grad/{name}"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["case0", "case1"])
def test_golden_guided_student(case: str) -> None:
    path = GOLDEN / "audiolcm_distill_a.safetensors"
    if not path.exists():
        pytest.skip(f"no reference tensors at {path}")
    tensors = load_file(path)
    prefix = "weights/unet.diffusion_model."
    published = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network = ConcatDiT(concat_dit_config(published, heads=4))
    network.load_state_dict(concat_dit_state(published))
    w_lcm = 4 + 8 * tensors[f"in/{case}/u"]
    found = network(
        tensors[f"out/{case}/x_noisy"],
        tensors[f"in/{case}/t"],
        text_embeds=tensors["in/cond"],
        w=w_lcm.double() + 1,
    )
    assert_near(found, tensors[f"out/{case}/student_eps"])


@torch.no_grad()
def test_a_batch_is_its_single_samples() -> None:
    network, batch = make(guided=True), inputs()
    w = torch.tensor([1.0, 3.0, 9.0])
    together = network(**batch, w=w)
    for i in range(3):
        single = network(**{k: v[i : i + 1] for k, v in batch.items()}, w=w[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], single, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_guidance_is_embedded_on_the_scale_of_lcm() -> None:
    network, batch = make(guided=True), inputs()
    w = torch.tensor([1.0, 3.0, 9.0])
    found = network(**batch, w=w)
    expected = network.predict(
        batch["x_t"], batch["t"], batch["text_embeds"], guidance_embedding(w - 1)
    )
    assert torch.equal(found, expected)
    assert float((found - network(**batch, w=w + 1)).abs().max()) > 1e-3


@torch.no_grad()
def test_time_text_and_place_matter_but_the_text_mask_does_not() -> None:
    network, batch = make(), inputs()
    before = network(**batch)
    for name, changed in (
        ("t", batch["t"] + 0.5),
        ("text_embeds", batch["text_embeds"].flip(1)),
        ("x_t", batch["x_t"].flip(2)),
    ):
        assert float((network(**{**batch, name: changed}) - before).abs().max()) > 1e-5, name
    assert torch.equal(network(**{**batch, "text_mask": ~batch["text_mask"]}), before)


def test_w_is_needed_by_guided_networks_and_refused_by_others() -> None:
    batch, w = inputs(), torch.ones(3)
    with pytest.raises(ValueError, match="w must be given"):
        make(guided=True)(**batch)
    with pytest.raises(ValueError, match="w must not be given"):
        make()(**batch, w=w)
    with pytest.raises(ValueError, match="latent_mask must not be given"):
        make()(**batch, latent_mask=torch.ones(3, 9, dtype=torch.bool))


@torch.no_grad()
def test_longest_sound_and_one_frame_more() -> None:
    network = make()
    assert network(**inputs(1, 13)).shape == (1, 6, 13)
    with pytest.raises(InputError, match="14 long; allowed with 10 text tokens: 1 to 13"):
        network(**inputs(1, 14))
    odd = {**inputs(1), "text_embeds": torch.zeros(1, 9, 8)}
    with pytest.raises(InputError, match="9 tokens; needed: an even number"):
        network(**odd)


@torch.no_grad()
def test_a_new_guided_network_starts_as_the_teacher() -> None:
    teacher = make()
    guided = ConcatDiT(replace(TINY, guided=True))
    missing = guided.load_state_dict(teacher.state_dict(), strict=False)
    assert missing.missing_keys == ["t_embedder.proj_w.weight"]
    batch = inputs()
    assert torch.equal(guided(**batch, w=torch.full((3,), 5.0)), teacher(**batch))


def test_recomputing_blocks_changes_no_gradient() -> None:
    network, batch = make().train(), inputs()
    gradients: list[list[Tensor]] = []
    for network.checkpointing in (False, True):
        network.zero_grad()
        network(**batch).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_bfloat16_stays_near() -> None:
    network, batch = make(guided=True), inputs()
    w = torch.tensor([1.0, 3.0, 9.0])
    exact = network(**batch, w=w)
    half = {k: v.bfloat16() if k in ("x_t", "text_embeds") else v for k, v in batch.items()}
    found = network.bfloat16()(**half, w=w)
    assert found.dtype == torch.bfloat16
    assert float((found.float() - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 40}, "width is 40; needed: a multiple of 32 and of heads"),
        ({"heads": 5}, "multiple of 32 and of heads"),
        ({"blocks": 0}, "blocks is 0; it must be above 0"),
    ],
)
def test_bad_sizes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **change)


@torch.no_grad()
def test_weights_in_half_precision_answer_in_the_type_they_are_asked_in() -> None:
    network, batch = make(), inputs()
    expected = network(**batch)
    found = network.to(torch.bfloat16)(**batch)
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.03
