"""Variants of the items without networks, by formulas of their own."""

from __future__ import annotations

import math

import torch
from parity_writer import Draws, Reference
from torch import Tensor

from soundleap.audio.mel import MelConfig, mel_filterbank


def alphas_cumprod(start: float, end: float, steps: int = 1000) -> Tensor:
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def scheduler(start: float, end: float, prediction: str = "v_prediction") -> dict[str, object]:
    return {
        "beta_start": start,
        "beta_end": end,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "trained_betas": None,
    }


def sigma_at(table: Tensor, t: Tensor) -> Tensor:
    """Interpolate sigma_ve between timesteps."""
    levels = ((1 - table) / table).sqrt()
    below = t.floor().long().clamp(max=len(table) - 2)
    return levels[below] + (t - below) * (levels[below + 1] - levels[below])


def heun_schedule() -> Reference:
    draws, table = Draws(1), alphas_cumprod(0.0006, 0.02)
    outputs: dict[str, Tensor] = {"alphas_cumprod": table}
    for points in (3, 7):
        t = torch.linspace(999, 0, points, dtype=torch.float64)
        sigma = sigma_at(table, t)
        twice = [0, *[i for i in range(1, points) for _ in range(2)]]
        outputs[f"linspace/n{points}/timesteps"] = t[twice]
        outputs[f"linspace/n{points}/sigmas"] = torch.cat([sigma[twice], torch.zeros(1)])
        outputs[f"linspace/n{points}/init_noise_sigma"] = sigma[0]
    outputs["linspace/n1/timesteps"] = torch.zeros(1)
    outputs["karras/n2/timesteps"] = torch.tensor([999.0, 0, 0])
    x, first, second = (draws.normal(2, 5, 3).double() for _ in range(3))
    t = torch.linspace(999, 0, 7, dtype=torch.float64)
    index = torch.tensor([0, 5])
    position = (index + 1) // 2
    here, there = (sigma_at(table, t[position + k])[:, None, None] for k in (0, 1))

    def x_0(z: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        return z / (sigma**2 + 1) - v * sigma / (sigma**2 + 1).sqrt()

    slope = (x - x_0(x, first, here)) / here
    euler = x + (there - here) * slope
    again = (euler - x_0(euler, second, there)) / there
    heun = x + (there - here) * (slope + again) / 2
    for name, value, sigma in (("", x, here), ("_first", euler, there), ("_heun", heun, there)):
        outputs["step/scaled" + (f"_after{name}" if name else "")] = value / (sigma**2 + 1).sqrt()
    outputs["step/after_first_order"], outputs["step/after_heun"] = euler, heun
    outputs["step/add_noise"] = x + here * first
    return Reference(
        "ctta_heun_schedule",
        scheduler(0.0006, 0.02),
        {"step/x": x, "step/v_first": first, "step/v_second": second, "step/index": index},
        outputs,
        meanings={"step/index": "index into timesteps of n7"},
    )


def solver() -> Reference:
    draws, table = Draws(2), alphas_cumprod(0.001, 0.015)
    x_0, noise = (draws.normal(3, 4, 6).double() for _ in range(2))
    index, t = torch.tensor([0, 4, 19]), torch.tensor([0, 3, 800])
    w = torch.tensor([1.5, 0.0])
    grid = torch.arange(1, 21) * 50 - 1
    ends = torch.cat([torch.zeros(1).long(), grid[:-1]])
    target = table[ends[index]][:, None, None]
    tau = 10.0 * t.double()
    frequencies = torch.exp(torch.arange(16) * (-math.log(10000) / 15))
    angles = (1000 * w)[:, None] * frequencies
    falling = grid.flip(0)
    outputs = {
        "alphas_cumprod": table,
        "sqrt_recip_alphas_cumprod": table**-0.5,
        "ddim_timesteps": grid,
        "ddim_alpha_cumprods_prev": table[ends],
        "x_prev": target.sqrt() * x_0 + (1 - target).sqrt() * noise,
        "c_skip": 0.25 / (tau**2 + 0.25),
        "sampler_c_out": tau / (tau**2 + 0.25).sqrt(),
        "guidance_embedding_33": torch.cat([angles.sin(), angles.cos(), 0 * w[:, None]], dim=1),
        "lcm_timesteps/orig20_n3": falling[[0, 6, 13]],
        "lcm_timesteps/orig18_n4": torch.tensor([989, 769, 494, 274]),
    }
    constructor = {
        "timesteps": 1000,
        "linear_start": 0.001,
        "linear_end": 0.015,
        "num_ddim_timesteps": 20,
    }
    inputs = {"pred_x0": x_0, "pred_noise": noise, "index": index, "t": t, "w": w}
    return Reference("audiolcm_solver", constructor, inputs, outputs)


def _magnitude(wav: Tensor, n_fft: int, win: int, hop: int, side: int) -> Tensor:
    padded = torch.nn.functional.pad(wav[:, None], (side, side), mode="reflect")[:, 0]
    window = torch.hann_window(win)
    spectrum = torch.stft(padded, n_fft, hop, win, window, center=False, return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1)


def nat_mel() -> Reference:
    wav = Draws(3).normal(2, 3000)  # partly beyond 1
    power = _magnitude(wav.clamp(-1, 1), 512, 400, 128, (512 - 128) // 2)
    basis = mel_filterbank(MelConfig(n_fft=512, n_mels=40, f_min_in_hz=60, f_max_in_hz=7000))
    mel = (basis @ (power + 1e-9).sqrt()).clamp_min(1e-5).log10()
    constructor = {
        "audio_sample_rate": 16000,
        "audio_num_mel_bins": 40,
        "fft_size": 512,
        "win_size": 400,
        "hop_size": 128,
        "fmin": 60,
        "fmax": 7000,
    }
    outputs = {"mel_basis": basis, "mel": mel, "mel_noise": mel}
    return Reference("audiolcm_mel_frontend", constructor, {"wav": wav, "wav_noise": wav}, outputs)


def audioldm_mel() -> Reference:
    draws = Draws(4)
    wav, raw = 0.3 * draws.normal(1, 2400), draws.normal(1000)
    magnitude = _magnitude(wav.clamp(-1, 1), 512, 512, 100, 256).sqrt()
    basis = mel_filterbank(MelConfig(sampling_rate=8000, n_fft=512, n_mels=20, f_max_in_hz=4000))
    mel = (basis @ magnitude).clamp_min(1e-5).log()
    read = raw - raw.mean()
    read = read / (read.abs().max() + 1e-8) / 2
    read = read[:800] / (read[:800].abs().max() + 1e-8) / 2
    steps = torch.arange(512, dtype=torch.float64)
    window = torch.hann_window(512, dtype=torch.float64)
    rows = [(3 * steps * 2 * math.pi / 512).cos() * window]
    rows += [-(3 * steps * 2 * math.pi / 512).sin() * window]
    constructor = {
        "filter_length": 512,
        "hop_length": 100,
        "win_length": 512,
        "n_mel_channels": 20,
        "sampling_rate": 8000,
        "mel_fmin": 0,
        "mel_fmax": 4000,
    }
    outputs = {
        "mel": mel,
        "log_magnitude": magnitude.clamp_min(1e-5).log(),
        "energy": magnitude.norm(dim=1),
        "mel_basis": basis,
        "fbank": mel[..., :20].transpose(1, 2),
        "read_wav_file": read[None],
        "forward_basis_rows": torch.stack(rows),
    }
    return Reference(
        "audioldm_mel_frontend",
        constructor,
        {"wav": wav, "raw_wav": raw},
        outputs,
        meanings={"forward_basis_rows": "rows 3,260 of stft_fn.forward_basis"},
    )
