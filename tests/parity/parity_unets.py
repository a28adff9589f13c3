"""Variants of the items of ConsistencyTTA and TANGO, by formulas of their own."""

from __future__ import annotations

from typing import Any

import torch
from parity_schedules import alphas_cumprod, scheduler, sigma_at
from parity_writer import Draws, Reference
from torch import Tensor

from soundleap.diffusion import fourier_features
from soundleap.models.unet2d import CROSS_DOWN, CROSS_UP, PLAIN_DOWN, PLAIN_UP, UNet2D, UNet2DConfig

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [8, 12],
    "attention_head_dim": [2, 5],
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "down_block_types": [PLAIN_DOWN, CROSS_DOWN],
    "up_block_types": [CROSS_UP, PLAIN_UP],
    "act_fn": "silu",
    "sample_size": [8, 2],
}
START, END, POINTS, GAMMA = 0.0007, 0.014, 7, 3
TABLE = alphas_cumprod(START, END)
LEVELS = torch.linspace(999, 0, POINTS, dtype=torch.float64)


def network(draws: Draws, *, guided: bool, **sizes: Any) -> UNet2D:
    values = {
        "channels": 4,
        "text_dim": 12,
        "block_out_channels": (8, 12),
        "attention_heads": (2, 5),
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "down_block_types": (PLAIN_DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, PLAIN_UP),
    }
    made = UNet2D(UNet2DConfig(**{**values, **sizes}, guided=guided))
    with torch.no_grad():
        draws.fill(made)
    return made.eval()


def published(module: UNet2D, prefix: str = "") -> dict[str, Tensor]:
    def name(own: str) -> str:
        if own == "frequencies":
            return "guidance_proj.weight"
        return own.removeprefix("unet.").replace("class_embedding.", "guidance_embedding.")

    return {prefix + name(own): value for own, value in module.state_dict().items()}


def gradient(module: UNet2D, name: str) -> Tensor:
    found = module.get_parameter(f"unet.{name}").grad
    assert found is not None
    return found.clone()


def texts(draws: Draws, count: int, tokens: int = 5) -> tuple[Tensor, Tensor]:
    mask = torch.ones(count, tokens, dtype=torch.int64)
    mask[0, 1:] = 0
    return draws.normal(count, tokens, 12), mask


def ask(
    module: UNet2D, z: Tensor, t: Tensor, text: tuple[Tensor, Tensor], w: Tensor | None = None
) -> Tensor:
    embeds, mask = text
    return module(z, t.float(), text_embeds=embeds, text_mask=mask.bool(), w=w)


def both(module: UNet2D, z: Tensor, t: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
    return ask(module, torch.cat([z, z]), torch.cat([t, t]), text)


def wide(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]


def guided_unet() -> Reference:
    """Two residual blocks a level, one number of heads for all levels."""
    draws = Draws(21)
    made = network(draws, guided=True, attention_heads=(2, 2), layers_per_block=2)
    x, text = draws.normal(2, 4, 8, 4), texts(draws, 2)
    everything = (text[0], torch.ones_like(text[1]))
    inputs = {"sample": x, "context": text[0], "mask": text[1]}
    inputs |= {"case0/t": torch.tensor([901.5]), "case0/w": torch.tensor([2.5])}
    inputs |= {"case1/t": torch.tensor([3.0, 77.25]), "case1/w": torch.tensor([0.5, 6])}
    loss = (ask(made, x, inputs["case1/t"], everything, inputs["case1/w"]) ** 2).mean()
    loss.backward()
    t = inputs["case0/t"].expand(2)
    assert made.frequencies is not None
    outputs = {
        "case0/time_embedding": made.unet.time_embedding(made.unet.time_proj(t)),
        "case0/guidance_proj": fourier_features(torch.full((2,), 2.5).double(), made.frequencies),
        "case0/conv_in": made.unet.conv_in(x),
        "case0/sample": ask(made, x, t, text, torch.full((2,), 2.5).double()),
        "case1/sample": ask(made, x, inputs["case1/t"], everything, inputs["case1/w"]),
        "grad/loss": loss,
        "grad/conv_norm_out.weight": gradient(made, "conv_norm_out.weight"),
        "grad/guidance_embedding.linear_2.bias": gradient(made, "class_embedding.linear_2.bias"),
    }
    return Reference(
        "ctta_guided_unet",
        {**UNET, "attention_head_dim": 2, "layers_per_block": 2},
        inputs,
        outputs,
        published(made),
        {"case1/sample": "encoder_attention_mask=None", "grad/loss": "mean(sample**2) in case 1"},
    )


class Stage2:
    """Teacher, student, target and average, in variance-exploding coordinates."""

    def __init__(self) -> None:
        draws = Draws(22)
        self.teacher = network(draws, guided=False)
        self.student, self.target, self.ema = (network(draws, guided=True) for _ in range(3))

    def weights(self) -> dict[str, Tensor]:
        return {
            **published(self.teacher, "teacher_unet."),
            **published(self.student, "student_unet."),
            **published(self.target, "student_target_unet."),
            **published(self.ema, "student_ema_unet."),
        }

    def slope(
        self, z: Tensor, t: Tensor, text: tuple[Tensor, Tensor], w: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give dz/dsigma, the scaled input and the teacher's answers for both texts."""
        sigma = wide(sigma_at(TABLE, t))
        scaled = z / (sigma**2 + 1).sqrt()
        answers = both(self.teacher, scaled, t, text)
        empty, prompt = answers.chunk(2)
        v = (1 - wide(w)) * empty + wide(w) * prompt
        return (
            (z - (z / (sigma**2 + 1) - v * sigma / (sigma**2 + 1).sqrt())) / sigma,
            scaled,
            answers,
        )

    def step(
        self, z: Tensor, t: Tensor, s: Tensor, text: tuple[Tensor, Tensor], w: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a Heun step."""
        change = wide(sigma_at(TABLE, s)) - wide(sigma_at(TABLE, t))
        first, scaled, v_first = self.slope(z, t, text, w)
        second, euler, v_second = self.slope(z + change * first, s, text, w)
        seen = {
            "z_nplus1_scaled": scaled,
            "teacher_v_nplus1": v_first,
            "zhat_n_euler_scaled": euler,
            "teacher_v_n": v_second,
        }
        return z + change * (first + second) / 2, seen

    @torch.no_grad()
    def roll(self, z: Tensor, first: int, times: Tensor, text: Any, w: Tensor) -> Tensor:
        """Follow the teacher from one of the times to the clean end."""
        for t, s in zip(times[first:-1], times[first + 1 :], strict=True):
            z, _ = self.step(z, t.expand(len(w)), s.expand(len(w)), text, w)
        slope, _, _ = self.slope(z, times[-1:].expand(len(w)), text, w)
        return z - wide(sigma_at(TABLE, times[-1:])) * slope


def noisy(x_0: Tensor, noise: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    sigma = wide(sigma_at(TABLE, LEVELS[index]))
    return torch.where(wide(index) == 0, sigma * noise, x_0 + sigma * noise), sigma


def consistency() -> Reference:
    draws, made = Draws(23), Stage2()
    x_0, text = draws.normal(2, 4, 8, 4), texts(draws, 4)
    item = Reference(
        "ctta_distill_stage2",
        {
            "unet": UNET,
            "scheduler": scheduler(START, END),
            "use_edm": True,
            "use_karras": False,
            "num_diffusion_steps": POINTS,
            "teacher_guidance_scale": -1,
            "loss_type": "mse",
            "target_ema_decay": 0.9,
            "ema_decay": 0.99,
        },
        {"z_0": x_0, "prompt_embeds_cf": text[0], "prompt_mask_cf": text[1]},
        weights=made.weights(),
        meanings={"validation/losses": "validation_mode=2, run_teacher, snr_gamma 3"},
    )
    for case, index in (("case0", [0, 5]), ("case1", [2, 3])):
        drawn = {"index_half": torch.tensor(index), "noise": draws.normal(2, 4, 8, 4)}
        drawn["w"] = torch.tensor([0.5, 4.25])
        item.inputs |= {f"{case}/{name}": value for name, value in drawn.items()}
        found = _case(made, x_0, text, drawn)
        item.outputs |= {f"{case}/{name}": value for name, value in found.items()}
    item.inputs |= {"validation/noise": draws.normal(2, 4, 8, 4)}
    item.inputs |= {"validation/w": torch.tensor([3.0, 1.5])}
    item.outputs["validation/losses"] = _validation(made, item.inputs)
    for prefix, average, decay in (("target", made.target, 0.9), ("ema", made.ema, 0.99)):
        for name in ("conv_out.weight", "guidance_proj.weight"):
            new, old = (published(x)[name] for x in (made.student, average))
            item.outputs[f"ema/student_{prefix}_unet.{name}"] = decay * old + (1 - decay) * new
    return item


def _case(made: Stage2, x_0: Tensor, text: Any, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
    index, w = drawn["index_half"], drawn["w"]
    t, s = LEVELS[index], LEVELS[index + 1]
    prompts = (text[0].chunk(2)[1], text[1].chunk(2)[1])
    z, sigma = noisy(x_0, drawn["noise"], index)
    with torch.no_grad():
        z_s, seen = made.step(z, t, s, text, w)
        sigma_s = wide(sigma_at(TABLE, s))
        scaled = z_s / (sigma_s**2 + 1).sqrt()
        raw = ask(made.target, scaled, s, prompts, w)
        aim = torch.where(wide(s) == 0, x_0, raw)
    ours = ask(made.student, seen["z_nplus1_scaled"], t, prompts, w)
    apart = ((ours - aim) ** 2).flatten(1).mean(1)
    loss = (apart * (sigma.flatten() ** -2).clamp(max=GAMMA)).mean()
    made.student.zero_grad()
    loss.backward(retain_graph=True)
    return {
        "loss_none": apart.mean(),
        "loss_snr3": loss,
        "grad_snr3/student_unet.conv_in.bias": gradient(made.student, "conv_in.bias"),
        "t_nplus1": t,
        "t_n": s,
        **seen,
        "zhat_n_heun_scaled": scaled,
        "target_raw": raw,
        "student": ours,
    }


@torch.no_grad()
def _validation(made: Stage2, inputs: dict[str, Tensor]) -> Tensor:
    x_0, w, level = inputs["z_0"], inputs["validation/w"], POINTS // 4
    text = (inputs["prompt_embeds_cf"], inputs["prompt_mask_cf"])
    prompts = (text[0].chunk(2)[1], text[1].chunk(2)[1])
    index = torch.full((2,), level)
    z, sigma = noisy(x_0, inputs["validation/noise"], index)
    t, s = LEVELS[index], LEVELS[index + 1]
    end = made.roll(z, level, LEVELS, text, w)
    ours = ask(made.target, z / (sigma**2 + 1).sqrt(), t, prompts, w)
    z_s, _ = made.step(z, t, s, text, w)
    again = ask(made.target, z_s / (wide(sigma_at(TABLE, s)) ** 2 + 1).sqrt(), s, prompts, w)
    weight = float((sigma.flatten()[0] ** -2).clamp(max=GAMMA))
    pairs = ((ours, x_0), (ours, end), (ours, again), (end, x_0))
    truth, teacher, apart, rest = (((a - b) ** 2).mean() for a, b in pairs)
    return torch.stack([truth, teacher, weight * apart, rest])
