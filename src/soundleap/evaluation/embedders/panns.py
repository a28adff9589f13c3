"""PANNs Cnn14, at 16 or 32 kHz: one vector of 2,048 numbers and 527 AudioSet scores a clip.

The embedder of "FD", "KL" and "IS" in text-to-audio papers. The architecture is written here; the
weights are yours to bring (`Cnn14_16k_mAP=0.438.pth`, `Cnn14_mAP=0.431.pth`, CC BY 4.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundleap.audio.mel import MelConfig, mel_filterbank
from soundleap.errors import InputError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
    file_sha256,
    pad_to,
)
from soundleap.evaluation.embedders.networks import ConvBlock, load_weights, read_weights
from soundleap.evaluation.record import EmbedderInfo

MELS, CLASSES = 64, 527
WIDTHS = (64, 128, 256, 512, 1024, 2048)
MIN_SECONDS = 2.0
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")
"""Tensors of published files that hold windows and filters, which are computed here."""


@dataclass(frozen=True)
class PannsConfig:
    """Sizes and front-end of a Cnn14.

    Attributes:
        sampling_rate: in Hz.
        n_fft: window and transform length in samples.
        hop_length: samples between frames.
        f_max_in_hz: upper end of the filters; the lower is 50 Hz.
        widths: channels of the six blocks; the last is the embedding's size.
        classes: number of classes.
    """

    sampling_rate: int = 16000
    n_fft: int = 512
    hop_length: int = 160
    f_max_in_hz: float = 8000.0
    widths: tuple[int, ...] = WIDTHS
    classes: int = CLASSES


CNN14_16K = PannsConfig()
CNN14_32K = PannsConfig(32000, 1024, 320, 14000.0)


class Cnn14(nn.Module):
    """Six convolution blocks and two dense layers.

    `forward` maps a waveform [B, S] to the embedding [B, D] (ReLU of the first dense layer) and
    logits [B, classes]. 80,753,615 parameters at full width.

    Source: Kong et al. 2020, "PANNs", arXiv 1912.10211, table I and section IV; names as in
    `audioset_tagging_cnn`.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: PannsConfig = CNN14_16K) -> None:
        super().__init__()
        self.config = config
        mel = MelConfig(
            sampling_rate=config.sampling_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=MELS,
            f_min_in_hz=50.0,
            f_max_in_hz=config.f_max_in_hz,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(mel), persistent=False)
        self.bn0 = nn.BatchNorm2d(MELS)
        for index, width in enumerate(config.widths):
            channels = config.widths[index - 1] if index else 1
            setattr(self, f"conv_block{index + 1}", ConvBlock(channels, width))
        self.fc1 = nn.Linear(config.widths[-1], config.widths[-1])
        self.fc_audioset = nn.Linear(config.widths[-1], config.classes)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Give ``10 log10(max(mel power, 1e-10))`` of a waveform [B, S]: [B, frames, 64]."""
        size, hop = self.config.n_fft, self.config.hop_length
        spectrum = torch.stft(
            waveform, size, hop, window=self.window, pad_mode="reflect", return_complex=True
        )
        mel = self.filterbank @ spectrum.abs().square()
        return 10 * torch.log10(mel.clamp_min(1e-10)).transpose(1, 2)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Embed and score."""
        x = self.log_mel(waveform)[:, None]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        last = len(self.config.widths)
        for index in range(1, last + 1):
            x = getattr(self, f"conv_block{index}")(x, F.avg_pool2d, 1 if index == last else 2)
        x = x.mean(dim=3)
        embeds = F.relu(self.fc1(x.amax(dim=2) + x.mean(dim=2)))
        return embeds, self.fc_audioset(embeds)


class PannsEmbedder:
    """Cnn14 on CPU or GPU; a clip is heard whole.

    As in `audioldm_eval`, the mean is taken off the waveform, and clips below 2 s are completed
    with zeros.

    Args:
        network: with loaded weights.
        info: what it is.
        class_names: in the order of the logits.
        device: torch device.
    """

    def __init__(
        self,
        network: Cnn14,
        info: EmbedderInfo,
        class_names: tuple[str, ...],
        device: str = "cpu",
    ) -> None:
        self._network, self._device = network.to(device).eval(), device
        self.info, self.class_names = info, class_names

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed and score a mono waveform [S]: [1, 2048], [1, 527]; see `Embedder.analyse`."""
        check_waveform(waveform)
        rate = self.info.sampling_rate
        padded, notes = pad_to(waveform - waveform.mean(), int(MIN_SECONDS * rate), rate)
        sound = torch.from_numpy(padded.astype("float32"))[None].to(self._device)
        with torch.no_grad():
            embeds, logits = self._network(sound)
        return ClipFeatures(embeds.cpu().numpy(), logits.cpu().numpy(), notes)


def open_16k(weights: str | None, device: str) -> PannsEmbedder:
    """Open Cnn14 at 16 kHz with weights from a file; raises InputError or BundleError."""
    return _open("panns-cnn14-16k", CNN14_16K, weights, device)


def open_32k(weights: str | None, device: str) -> PannsEmbedder:
    """Open Cnn14 at 32 kHz with weights from a file; raises InputError or BundleError."""
    return _open("panns-cnn14-32k", CNN14_32K, weights, device)


def _open(name: str, config: PannsConfig, weights: str | None, device: str) -> PannsEmbedder:
    if weights is None:
        raise InputError(f"{name} needs a file of weights")
    network = Cnn14(config)
    load_weights(network, read_weights(weights), weights, ignore=FRONT_END)
    info = panns_info(name, config, file_sha256(Path(weights)))
    return PannsEmbedder(network, info, class_names(config.classes), device)


def class_names(count: int) -> tuple[str, ...]:
    """Name the classes by their place in AudioSet's list of 527, which is not shipped."""
    return tuple(f"AudioSet class {i}" for i in range(count))


def panns_info(name: str, config: PannsConfig, sha256: str) -> EmbedderInfo:
    """Describe a Cnn14."""
    return EmbedderInfo(
        name=name,
        description=f"PANNs Cnn14 at {config.sampling_rate // 1000} kHz: CNN trained on AudioSet",
        sampling_rate=config.sampling_rate,
        resampler=RESAMPLER,
        window="whole clip, mean removed; clips below 2 s padded",
        layer="ReLU of the first dense layer",
        dimensions=config.widths[-1],
        rows_per="clip",
        licence="CC-BY-4.0",
        weights_sha256=sha256,
        source="Kong et al. 2020, arXiv 1912.10211; weights: yours (Zenodo record 3987831)",
        classes=config.classes,
    )
