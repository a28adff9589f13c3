"""Variants of the items of AudioLCM and Make-An-Audio 2, by formulas of their own."""

from __future__ import annotations

from typing import Any

import torch
from parity_schedules import alphas_cumprod
from parity_writer import Draws, Reference
from torch import Tensor

from soundleap.diffusion import guidance_embedding, sinusoidal_embedding
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig

SIZES = {
    "in_channels": 6,
    "context_dim": 10,
    "hidden_size": 64,
    "depth": 1,
    "num_heads": 2,
    "max_len": 40,
}
SCHEDULE = {"linear_start": 0.001, "linear_end": 0.015, "timesteps": 1000}
TABLE = alphas_cumprod(0.001, 0.015)


def network(draws: Draws, *, guided: bool) -> ConcatDiT:
    made = ConcatDiT(
        ConcatDiTConfig(
            channels=6, text_dim=10, width=64, blocks=1, heads=2, max_positions=40, guided=guided
        )
    )
    with torch.no_grad():
        draws.fill(made)
    return made.eval()


def under(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in module.state_dict().items()}


def levels(t: Tensor) -> tuple[Tensor, Tensor]:
    table = TABLE[t.long()][:, None, None].float()
    return table.sqrt(), (1 - table).sqrt()


def transformer() -> Reference:
    draws = Draws(11)
    made = network(draws, guided=True)
    x, context, g = draws.normal(3, 6, 9), draws.normal(3, 8, 10), draws.normal(3, 256)
    times = {f"t{i}": torch.tensor([20 * i, 999 - i, 3]) for i in range(3)}
    outputs: dict[str, Tensor] = {}
    for name, t in times.items():
        outputs[f"{name}/no_w"] = made.predict(x, t, context, None)
        outputs[f"{name}/with_w"] = made.predict(x, t, context, g)
        outputs[f"{name}/sinusoid"] = sinusoidal_embedding(t.float(), 256)
    outputs["t1/t_embedder_with_w"] = made.t_embedder(times["t1"], g)
    loss = (outputs["t2/no_w"] ** 2).mean()
    loss.backward()
    outputs["grad/loss"] = loss
    for name in ("c1_embedder.mlp.0.weight", "blocks.0.transformer_blocks.0.attn2.to_v.weight"):
        gradient = made.get_parameter(name).grad
        assert gradient is not None
        outputs[f"grad/{name}"] = gradient
    return Reference(
        "audiolcm_concatdit2mlp",
        SIZES,
        {"x": x, "context": context, "w_cond": g, **times},
        outputs,
        made.state_dict(),
        {"grad/loss": "mean(out/t2/no_w ** 2)"},
        {"class": "ConcatDiT2MLP"},
    )


def distillation() -> Reference:
    """The loss and everything on the way, with other numbers everywhere."""
    draws = Draws(12)
    teacher, student, target = (network(draws, guided=guided) for guided in (False, True, True))
    x_0, cond, uncond = draws.normal(2, 6, 9), draws.normal(2, 8, 10), draws.normal(1, 8, 10)
    item = Reference(
        "audiolcm_distill",
        {
            "unet_config": {"target": "ConcatDiT2MLP", "params": SIZES},
            **SCHEDULE,
            "num_ddim_timesteps": 20,
            "w_min": 3,
            "w_max": 9,
            "loss": "pseudo-Huber, c=0.01",
        },
        {"x_start": x_0, "cond": cond, "uncond": uncond},
        weights={
            **under("model.diffusion_model.", teacher),
            "model.diffusion_model.t_embedder.proj_w.weight": draws.normal(256, 256),
            **under("unet.diffusion_model.", student),
            **under("target_unet.diffusion_model.", target),
        },
    )
    for case, index in enumerate(([0, 19], [7, 3], [12, 1])):
        u, noise, i = torch.rand(2, generator=draws.generator), draws.normal(2, 6, 9), index
        given = {"u": u, "noise": noise, "index": torch.tensor(i)}
        item.inputs |= {f"case{case}/{name}": value for name, value in given.items()}
        made = _step(teacher, student, target, item.inputs, given)
        item.outputs |= {f"case{case}/{name}": value for name, value in made.items()}
    name = "t_embedder.mlp.2.bias"
    item.outputs[f"ema/target_unet.diffusion_model.{name}"] = 0.95 * target.get_parameter(
        name
    ) + 0.05 * student.get_parameter(name)
    return item


def _step(
    teacher: ConcatDiT,
    student: ConcatDiT,
    target: ConcatDiT,
    inputs: dict[str, Tensor],
    given: dict[str, Tensor],
) -> dict[str, Tensor]:
    x_0, cond = inputs["x_start"], inputs["cond"]
    uncond = inputs["uncond"].expand_as(cond)
    t = given["index"] * 50 + 49
    s = (t - 50).clamp(min=0)
    (a, b), (a_s, b_s) = levels(t), levels(s)
    x_t = a * x_0 + b * given["noise"]
    w = 3 + 6 * given["u"]
    scale, embedded = w[:, None, None], guidance_embedding(w)
    with torch.no_grad():
        e_c, e_u = (teacher.predict(x_t, t, text, None) for text in (cond, uncond))
        guess_c, guess_u = ((x_t - b * e) / a for e in (e_c, e_u))
        guess, eps = guess_c + scale * (guess_c - guess_u), e_c + scale * (e_c - e_u)
        x_s = a_s * guess + b_s * eps
        e_target = target.predict(x_s, s, cond, embedded)
        aim = _function(x_s, s, e_target, a_s, b_s)
    e = student.predict(x_t, t, cond, embedded)
    apart = _function(x_t, t, e, a, b) - aim
    loss = ((apart**2 + 0.01**2).sqrt() - 0.01).mean()
    student.zero_grad()
    loss.backward()
    name = "t_embedder.proj_w.weight"
    gradient = student.get_parameter(name).grad
    assert gradient is not None
    return {
        "loss": loss,
        "x_noisy": x_t,
        "student_eps": e,
        "teacher_eps_cond": e_c,
        "teacher_eps_uncond": e_u,
        "x_prev": x_s,
        "target_eps": e_target,
        f"grad/unet.diffusion_model.{name}": gradient.clone(),
    }


def _function(x_t: Tensor, t: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    tau = 10.0 * t[:, None, None].float()
    skip, out = 0.25 / (tau**2 + 0.25), tau / (tau**2 + 0.25).sqrt()
    return skip * x_t + out * (x_t - b * eps) / a


@torch.no_grad()
def sampler(weights: dict[str, Tensor]) -> Reference:
    """Sampling with the student of `distillation`."""
    draws = Draws(13)
    student = network(draws, guided=True)
    prefix = "unet.diffusion_model."
    student.load_state_dict(
        {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    )
    cond, x_T, noises = draws.normal(2, 8, 10), draws.normal(2, 6, 9), draws.normal(2, 2, 6, 9)
    outputs: dict[str, Tensor] = {}
    for times, g in (([999], 5.3), ([999, 699, 349], 7.25)):
        x = denoised = x_T
        for step, t in enumerate(times):
            now = torch.tensor([t, t])
            a, b = levels(now)
            embedded = guidance_embedding(torch.tensor([g - 1] * 2))
            denoised = _function(x, now, student.predict(x, now, cond, embedded), a, b)
            if step + 1 < len(times):
                a, b = levels(torch.tensor([times[step + 1]] * 2))
                x = a * denoised + b * noises[step]
        outputs[f"steps{len(times)}_g{g}/denoised"] = denoised
        outputs[f"steps{len(times)}_g{g}/timesteps"] = torch.tensor(times)
    return Reference(
        "audiolcm_lcm_sampler",
        {"original_inference_steps": 20},
        {"cond": cond, "x_T": x_T, "noises": noises},
        outputs,
        extra={"weights_file": "audiolcm_distill_z.safetensors (the student's)"},
    )


def teacher() -> Reference:
    """DDIM sampling with guidance, with and without fresh noise; the training loss."""
    draws = Draws(14)
    made = network(draws, guided=False)
    cond, uncond, x_T = draws.normal(2, 8, 10), draws.normal(1, 8, 10), draws.normal(2, 6, 9)
    noises, x_0, noise = draws.normal(10, 2, 6, 9), draws.normal(2, 6, 9), draws.normal(2, 6, 9)
    t = torch.tensor([998, 40])
    outputs: dict[str, Tensor] = {}
    for steps, g, eta, name in ((4, 2.5, 0, "steps4_g2.5"), (10, 1, 0, "steps10_g1"),
                                (4, 3, 0.5, "steps4_g3_eta0.5")):  # fmt: skip
        times = [*range(0, 1000, 1000 // steps)]
        times = [time + 1 for time in reversed(times)]
        settings: dict[str, Any] = {"g": g, "eta": eta, "noises": noises}
        outputs[f"{name}/z"] = _ddim(made, x_T, cond, uncond.expand_as(cond), times, **settings)
        outputs[f"{name}/timesteps"] = torch.tensor(times)
    a, b = levels(t)
    loss = ((made.predict(a * x_0 + b * noise, t, cond, None) - noise) ** 2).mean()
    loss.backward()
    gradient = made.get_parameter("final_layer.conv1d.weight").grad
    assert gradient is not None
    outputs["train/loss"] = loss
    outputs["train/grad/model.diffusion_model.final_layer.conv1d.weight"] = gradient
    train = {"x_start": x_0, "noise": noise, "t": t}
    inputs = {"cond": cond, "uncond": uncond, "x_T": x_T, "noises": noises}
    return Reference(
        "maa2_teacher",
        {"unet_config": {"target": "ConcatDiT2MLP", "params": SIZES}, **SCHEDULE},
        {**inputs, **{f"train/{n}": value for n, value in train.items()}},
        outputs,
        under("model.diffusion_model.", made),
    )


@torch.no_grad()
def _ddim(
    made: ConcatDiT,
    x: Tensor,
    cond: Tensor,
    uncond: Tensor,
    times: list[int],
    *,
    g: float,
    eta: float,
    noises: Tensor,
) -> Tensor:
    for step, (t, s) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        now = torch.tensor([t, t])
        e_c, e_u = (made.predict(x, now, text, None) for text in (cond, uncond))
        e = e_u + g * (e_c - e_u)
        at, as_ = float(TABLE[t]), float(TABLE[s])
        fresh = eta * ((1 - as_) / (1 - at) * (1 - at / as_)) ** 0.5
        x_0 = (x - (1 - at) ** 0.5 * e) / at**0.5
        x = as_**0.5 * x_0 + (1 - as_ - fresh**2) ** 0.5 * e + fresh * noises[step]
    return x
