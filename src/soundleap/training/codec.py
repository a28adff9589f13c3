"""Stage 1: fit the closed-form latent codec to mel spectrograms."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.data.manifest import write_text_atomically
from soundleap.data.pool import AudioPool
from soundleap.models.codec import LatentCodec
from soundleap.models.patch_pca import PatchPCAConfig, fit_patch_pca
from soundleap.models.store import save_module
from soundleap.training.records import write_settings
from soundleap.training.settings import STRICT, RunSettings


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CodecSettings(RunSettings):
    """Settings of `train codec`; the fit is in closed form, so there is nothing to resume."""

    manifests: tuple[str, ...]
    channels: int = 128
    patch_frames: int = 8
    noise_fill: float = 0.8
    max_clips: int = 2500


def fit_codec(settings: CodecSettings, *, progress: bool = True) -> Path:
    """Fit a `PatchPCA` on the training split, measure it on the held-out one, write ``codec/``."""
    mel_config = MelConfig()
    torch.set_num_threads(settings.threads)
    config = PatchPCAConfig(
        n_mels=mel_config.n_mels,
        patch_frames=settings.patch_frames,
        channels=settings.channels,
        noise_fill=settings.noise_fill,
    )
    front_end = LogMel(mel_config)
    train = _mels(settings, "train", front_end, progress)
    codec = fit_patch_pca(config, train)
    heldout = _mels(settings, "heldout", front_end, progress)
    folder = Path(settings.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    save_module(folder / "codec.safetensors", codec, asdict(config))
    report = {"train_mel_l1": mel_error(codec, train), "heldout_mel_l1": mel_error(codec, heldout)}
    write_text_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")
    write_settings(folder, settings)
    return folder


def mel_error(codec: LatentCodec, mels: list[Tensor]) -> float:
    """Return the mean absolute error of decode(encode(mel)) without noise fill, in log10 units."""
    total = count = 0.0
    for mel in mels:
        whole = mel[:, : mel.shape[1] // codec.config.patch_frames * codec.config.patch_frames]
        if whole.shape[1]:
            error = (codec.decode(codec.encode(whole[None]))[0] - whole).abs()
            total, count = total + float(error.sum()), count + error.numel()
    return total / count


def _mels(settings: CodecSettings, split: str, front_end: LogMel, progress: bool) -> list[Tensor]:
    pool = AudioPool(
        settings.manifests,
        split=split,
        sampling_rate=front_end.config.sampling_rate,
        progress=progress,
    )
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(pool.clips), generator=generator)[: settings.max_clips]
    hop = front_end.config.hop_length
    return [front_end(_whole_hops(pool.waveform(int(i)), hop))[0] for i in order]


def _whole_hops(waveform: Tensor, hop: int) -> Tensor:
    return waveform[None, : len(waveform) // hop * hop]
