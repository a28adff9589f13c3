"""VGGish: 128 numbers for every 0.96 s, the embedder of the classic Fréchet audio distance.

The architecture is written here; the weights are yours to bring (the PyTorch port's
`vggish-10086976.pth`, or the same tensors as safetensors).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from soundleap.errors import InputError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
    file_sha256,
    pad_to,
)
from soundleap.evaluation.embedders.htk_mel import (
    MELS,
    PATCH_FRAMES,
    PATCH_SAMPLES,
    SAMPLING_RATE,
    google_log_mel,
)
from soundleap.evaluation.embedders.networks import in_pieces, load_weights, read_weights
from soundleap.evaluation.record import EmbedderInfo

LOG_OFFSET = 0.01
WIDTHS = (64, 128, 256, 256, 512, 512)
POOLED_AFTER = (0, 1, 3, 5)


class VggishNetwork(nn.Module):
    """Six convolutions and three dense layers; `forward` maps patches [n, 96, 64] to [n, 128].

    The last layer has no activation and no PCA follows, as in the evaluations of text-to-audio
    papers (`audioldm_eval`); 72,141,184 parameters at full width.

    Source: Hershey et al. 2017, "CNN architectures for large-scale audio classification", arXiv
    1609.09430; `tensorflow/models/research/audioset/vggish`; names as in `torchvggish`.

    Args:
        widths: channels of the six convolutions.
        hidden: width of the first two dense layers.
        dimensions: of the embedding.
    """

    def __init__(
        self, widths: tuple[int, ...] = WIDTHS, hidden: int = 4096, dimensions: int = 128
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for index, width in enumerate(widths):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if index in POOLED_AFTER else []
            channels = width
        self.features = nn.Sequential(*layers)
        flat = channels * (PATCH_FRAMES // 16) * (MELS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dimensions),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Embed log-mel patches; the dense layers read them in the order time, mel, channel."""
        maps = self.features(patches[:, None])
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


class VggishEmbedder:
    """VGGish on CPU or GPU.

    Args:
        network: with loaded weights.
        weights_sha256: of their file.
        device: torch device.
        patches_at_once: patches of a clip that run together; changes results by rounding only.
    """

    def __init__(
        self,
        network: VggishNetwork,
        weights_sha256: str,
        device: str = "cpu",
        patches_at_once: int = 16,
    ) -> None:
        self._network, self._device = network.to(device).eval(), device
        self._at_once = patches_at_once
        self.info = _info(weights_sha256)

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed a mono waveform [S] at 16 kHz: [n, 128]; raises as `Embedder.analyse`."""
        patches, notes = vggish_patches(waveform)
        rows = in_pieces(self._network, torch.from_numpy(patches), self._at_once, self._device)
        return ClipFeatures(rows.numpy(), None, notes)


def open_vggish(weights: str | None, device: str) -> VggishEmbedder:
    """Open VGGish with weights from a file; PCA tensors in it are left aside.

    Raises:
        InputError: no such file.
        BundleError: it does not fit.
    """
    if weights is None:
        raise InputError("vggish needs a file of weights")
    network = VggishNetwork()
    load_weights(network, read_weights(weights), weights, ignore=("pproc.",))
    return VggishEmbedder(network, file_sha256(Path(weights)), device)


def vggish_patches(waveform: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Compute the log-mel patches of a mono waveform [S] at 16 kHz.

    Patches follow each other without overlap; frames after the last full one are left out. A clip
    shorter than one patch (15,600 samples) is completed with zeros.

    Returns:
        [n, 96, 64] float32 natural logarithms of (mel magnitude + 0.01), and a note if zeros were
        needed.
    """
    check_waveform(waveform)
    padded, notes = pad_to(waveform, PATCH_SAMPLES, SAMPLING_RATE)
    log_mel = google_log_mel(padded, LOG_OFFSET)
    count = len(log_mel) // PATCH_FRAMES
    patches = log_mel[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, MELS)
    return patches, notes


def _info(sha256: str) -> EmbedderInfo:
    return EmbedderInfo(
        name="vggish",
        description="VGGish: CNN trained on YouTube-100M's tags",
        sampling_rate=SAMPLING_RATE,
        resampler=RESAMPLER,
        window="0.96 s patches without overlap, the rest left out; shorter clips padded",
        layer="last dense layer, before its activation, without PCA",
        dimensions=128,
        rows_per="patch",
        licence="Apache-2.0",
        weights_sha256=sha256,
        source="Hershey et al. 2017; weights: yours (torchvggish's file or the same tensors)",
    )
