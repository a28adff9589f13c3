"""Variants of stage 1, of ConsistencyTTA's inference and of TANGO, by formulas of their own."""

from __future__ import annotations

from typing import Any

import torch
from parity_schedules import alphas_cumprod, scheduler, sigma_at
from parity_unets import END, START, TABLE, UNET, Stage2, ask, both, network, published, texts, wide
from parity_writer import Draws, Reference
from torch import Tensor

SHARED = {"weights_file": "ctta_distill_stage2_z.safetensors (same weights)"}


def guided_distillation() -> Reference:
    draws, made = Draws(31), Stage2()
    x_0, noise, text = draws.normal(3, 4, 8, 4), draws.normal(3, 4, 8, 4), texts(draws, 6)
    index, w = torch.tensor([0, 700, 999]), torch.tensor([1.5, 0, 6])
    t = 999 - index
    bar = wide(TABLE[t])
    z = torch.where(wide(t) == 999, noise, bar.sqrt() * x_0 + (1 - bar).sqrt() * noise)
    prompts = (text[0].chunk(2)[1], text[1].chunk(2)[1])
    with torch.no_grad():
        answers = both(made.teacher, z, t, text)
        empty, prompt = answers.chunk(2)
        ours = ask(made.student, z, t, prompts, w)
    apart = ((ours - (1 - wide(w)) * empty - wide(w) * prompt) ** 2).flatten(1).mean(1)
    snr = (bar / (1 - bar)).flatten()
    outputs = {
        "loss_none": apart.mean(),
        "loss_snr2.5": (apart * snr.clamp(max=2.5) / (snr + 1)).mean(),
        "z_n": z,
        "teacher_v": answers,
        "student_v": ours,
    }
    inputs = {"z_0": x_0, "noise": noise, "index": index, "w": w}
    return Reference(
        "ctta_distill_stage1",
        {"unet": UNET, "scheduler": scheduler(START, END), "teacher_guidance_scale": -1},
        {**inputs, "prompt_embeds_cf": text[0], "prompt_mask_cf": text[1]},
        outputs,
        extra=SHARED,
    )


@torch.no_grad()
def inference() -> Reference:
    draws, made = Draws(32), Stage2()
    text = texts(draws, 2)
    noises = [draws.normal(2, 4, 12, 4) for _ in range(3)]
    text_2 = tuple(value.repeat_interleave(2, dim=0) for value in text)  # two samples of a prompt
    outputs: dict[str, Tensor] = {}
    for steps, w, post, name in ((1, 2.5, 1, "steps1_w2.5"), (3, 3, 1.5, "steps3_w3_post1.5")):
        times = torch.linspace(999, 0, steps, dtype=torch.float64) if steps > 1 else [999.0]
        z = sigma_at(TABLE, torch.tensor([999.0])).float() * noises[0]
        for number, t in enumerate(times):
            now = torch.as_tensor(t, dtype=torch.float64).expand(2)
            sigma = wide(sigma_at(TABLE, now))
            z = z if number == 0 else z + sigma * noises[number]
            scaled = z / (sigma**2 + 1).sqrt()
            scale = torch.full((4,), float(w), dtype=torch.float64)
            halves = torch.cat([scaled, scaled]), torch.cat([now, now])
            empty, prompt = ask(made.ema, *halves, text_2, scale).chunk(2)
            z = (1 - post) * empty + post * prompt
        outputs[f"{name}/z"] = z
    grid = torch.linspace(999, 0, 5, dtype=torch.float64)
    start = sigma_at(TABLE, grid[:1]).float() * noises[0]
    outputs["teacher5_w2/z"] = made.roll(start, 0, grid, text_2, torch.tensor([2.0, 2.0]))
    constructor = {
        "unet": UNET,
        "scheduler": scheduler(START, END),
        "use_edm": True,
        "use_ema": True,
        "num_samples": 2,
    }
    inputs = {"noise_initial": noises[0], "noise_1": noises[1], "noise_2": noises[2]}
    return Reference(
        "ctta_inference",
        constructor,
        {"prompt_embeds_cf": text[0], "prompt_mask_cf": text[1], **inputs},
        outputs,
        extra=SHARED,
    )


def tango() -> Reference:
    draws, table = Draws(33), alphas_cumprod(0.001, 0.01)
    made = network(draws, guided=False, block_out_channels=(4, 8), attention_heads=(1, 2))
    x, context, t = draws.normal(2, 4, 8, 4), texts(draws, 2), torch.tensor([7, 951])
    everything = (context[0], torch.ones_like(context[1]))
    x_0, noise = draws.normal(2, 4, 8, 4), draws.normal(2, 4, 8, 4)
    bar = wide(table[t])
    with torch.no_grad():
        v = ask(made, bar.sqrt() * x_0 + (1 - bar).sqrt() * noise, t, context)
    apart = ((v - bar.sqrt() * noise + (1 - bar).sqrt() * x_0) ** 2).flatten(1).mean(1)
    snr = (bar / (1 - bar)).flatten()
    text = texts(draws, 2)
    noises = {f"noise_{i}": draws.normal(1, 4, 12, 4) for i in range(1, 5)}
    start = draws.normal(1, 4, 12, 4)
    outputs = {
        "net/sample0": ask(made, x, torch.tensor([40, 40]), context),
        "net/sample1": ask(made, x, t, context),
        "net/sample_nomask": ask(made, x, t, everything),
        "train/loss_none": apart.mean(),
        "train/loss_snr1.5": (apart * snr.clamp(max=1.5) / snr).mean(),
    }
    runs = (("ddpm4", 4, 2.5, True), ("ddim8_g2", 8, 2, False), ("ddim4_g1", 4, 1, False))
    for name, steps, g, ancestral in runs:
        times = [i * (1000 // steps) + 1 for i in reversed(range(steps))]
        given = list(noises.values()) if ancestral else None
        entered = _sampled(made, start, text, times, table, g, given)
        outputs |= {f"{name}/z": entered[-1], f"{name}/timesteps": torch.tensor(times)}
        outputs[f"{name}/second_input"] = entered[0]
    train = {"train/z_0": x_0, "train/noise": noise, "train/t": t}
    train |= {"train/prompt_embeds": context[0], "train/prompt_mask": context[1]}
    net = {"net/sample": x, "net/context": context[0], "net/mask": context[1]}
    net |= {"net/t0": torch.tensor([40]), "net/t1": t}
    sampling = {"prompt_embeds_cf": text[0], "prompt_mask_cf": text[1], "noise_initial": start}
    values = {**UNET, "block_out_channels": [4, 8], "attention_head_dim": [1, 2]}
    return Reference(
        "tango_unet_sampling",
        {"unet": values, "scheduler": scheduler(0.001, 0.01)},
        {**net, **train, **sampling, **noises},
        outputs,
        {f"unet.{name}": value for name, value in published(made).items()},
        {"net/sample_nomask": "t1, encoder_attention_mask=None", "ddpm4/z": "guidance 2.5"},
    )


@torch.no_grad()
def _sampled(
    made: Any,
    x: Tensor,
    text: tuple[Tensor, Tensor],
    times: list[int],
    table: Tensor,
    g: float,
    noises: list[Tensor] | None,
) -> list[Tensor]:
    """Sample by DDPM where there is noise, else by DDIM; gives what every step leads to."""
    entered: list[Tensor] = []
    for step, t in enumerate(times):
        last = step + 1 == len(times)
        bar = float(table[t])
        before = float(table[0]) if last else float(table[times[step + 1]])
        if last and noises:
            before = 1.0
        empty, prompt = both(made, x, torch.tensor([t]), text).chunk(2)
        v = empty + g * (prompt - empty)
        x_0 = bar**0.5 * x - (1 - bar) ** 0.5 * v
        eps = bar**0.5 * v + (1 - bar) ** 0.5 * x
        if noises:
            beta = 1 - bar / before
            x = (
                before**0.5 * beta / (1 - bar) * x_0
                + (1 - beta) ** 0.5 * (1 - before) / (1 - bar) * x
            )
            x = x + ((1 - before) / (1 - bar) * beta) ** 0.5 * noises[step]
        else:
            x = before**0.5 * x_0 + (1 - before) ** 0.5 * eps
        entered.append(x)
    return entered
