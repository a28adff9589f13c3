"""aiSFX: 512 numbers for every 2.3 s of a sound effect, at 44.1 kHz.

The weights are the checkpoint inside the PyPI package `aisfx` (CC BY 4.0); only that file is read,
none of the package's code runs. The spectrogram is computed here, to the numbers of the library the
network was trained with.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundleap.errors import SoundleapError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
    file_sha256,
)
from soundleap.evaluation.embedders.htk_mel import htk_filters
from soundleap.evaluation.embedders.networks import (
    ConvBlock,
    in_pieces,
    load_weights,
    numpy_scalars,
    read_weights,
)
from soundleap.evaluation.record import EmbedderInfo

SAMPLING_RATE = 44100
WINDOW, HOP, MELS = 2048, 1024, 96
BLOCK_FRAMES, BLOCK_HOP_FRAMES = 100, 50
LARGEST = 9.457798957824707
"""Largest log-mel value of the training sets; the network sees values divided by it."""

INSTALL_HINT = (
    "aiSFX is not installed: run `pip install --no-deps aisfx` (only its weights are used)"
)


class AisfxNetwork(nn.Module):
    """Four convolution blocks; `forward` maps blocks [B, T, 96] to embeddings [B, 512].

    Source: Ma and Lerch 2022, "Representation Learning for the Automatic Indexing of Sound Effects
    Libraries", section 3 (network X-Sequential-CE).
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv_block1 = ConvBlock(1, width)
        self.conv_block2 = ConvBlock(width, 2 * width)
        self.conv_block3 = ConvBlock(2 * width, 4 * width)
        self.conv_block4 = ConvBlock(4 * width, 8 * width)

    def forward(self, blocks: Tensor) -> Tensor:
        """Mean over frequency, then maximum over time, of the last block."""
        x = blocks[:, None]
        for block in (self.conv_block1, self.conv_block2, self.conv_block3):
            x = block(x, F.max_pool2d, 2)
        return self.conv_block4(x, F.max_pool2d, 1).mean(dim=3).amax(dim=2)


class AisfxEmbedder:
    """aiSFX on CPU or GPU.

    Args:
        network: with loaded weights.
        weights_sha256: of their file.
        device: torch device.
        blocks_at_once: blocks of a clip that run together; changes results by rounding only.
    """

    def __init__(
        self,
        network: AisfxNetwork,
        weights_sha256: str,
        device: str = "cpu",
        blocks_at_once: int = 16,
    ) -> None:
        self._network, self._device = network.to(device).eval(), device
        self._at_once = blocks_at_once
        self.info = _info(weights_sha256)

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed a mono waveform [S] at 44.1 kHz: [n, 512]; raises as `Embedder.analyse`."""
        blocks, notes = aisfx_blocks(waveform)
        rows = in_pieces(self._network, torch.from_numpy(blocks), self._at_once, self._device)
        return ClipFeatures(rows.numpy(), None, notes)


def open_aisfx(weights: str | None, device: str) -> AisfxEmbedder:
    """Open aiSFX with the weights of its package."""
    path = aisfx_checkpoint()
    network = AisfxNetwork()
    prefix = "embedding_net."
    state = {
        name.removeprefix(prefix): value
        for name, value in read_weights(path, numpy_scalars()).items()
        if name.startswith(prefix)
    }
    load_weights(network, state, path)
    return AisfxEmbedder(network, file_sha256(path), device)


def aisfx_checkpoint() -> Path:
    """Find the weights, without importing their package.

    Raises:
        SoundleapError: the package `aisfx` is not installed or lacks the file.
    """
    spec = importlib.util.find_spec("aisfx")
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / "models" / "checkpoint.pth"
        if path.is_file():
            return path
    raise SoundleapError(INSTALL_HINT)


def aisfx_blocks(waveform: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Cut the log-mel spectrogram of a mono waveform [S] at 44.1 kHz into blocks.

    A last block that is not full is left out, as in the published embeddings; a clip shorter than
    one block is completed with zeros.

    Returns:
        [n, 100, 96] float32, and a note if zeros were needed.
    """
    check_waveform(waveform)
    mel = aisfx_mel(waveform) / LARGEST
    notes: tuple[str, ...] = ()
    if len(mel) < BLOCK_FRAMES:
        mel = np.pad(mel, ((0, BLOCK_FRAMES - len(mel)), (0, 0)))
        notes = (f"zero-padded to {BLOCK_FRAMES * HOP / SAMPLING_RATE:.2f} s",)
    starts = range(0, len(mel) - BLOCK_FRAMES + 1, BLOCK_HOP_FRAMES)
    return np.stack([mel[s : s + BLOCK_FRAMES] for s in starts]).astype(np.float32), notes


def aisfx_mel(waveform: FloatArray) -> FloatArray:
    """Compute ``log10(10000 * mel + 1)`` of the power spectrum: [F, 96].

    Frames are centred at multiples of 1,024 samples, the first at the first sample, as long as
    they begin before the end. The Hann window is symmetric and not normalised; filters have unit
    sum.

    Source: the settings of the published extractor (Essentia's FrameCutter, Windowing, MelBands);
    the numbers agree with Essentia 2.1 to 5e-5.
    """
    count = -(-waveform.size // HOP) + 1
    padded = np.zeros((count - 1) * HOP + WINDOW)
    padded[WINDOW // 2 : WINDOW // 2 + waveform.size] = waveform
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    return np.log10(1e4 * (power @ _filters()) + 1)


def _filters() -> FloatArray:
    """Triangles on the HTK mel axis with unit sum, [1025, 96]."""
    triangles = htk_filters(SAMPLING_RATE, WINDOW, MELS, 0.0, SAMPLING_RATE / 2)
    return triangles / triangles.sum(axis=0)


def _info(sha256: str) -> EmbedderInfo:
    return EmbedderInfo(
        name="aisfx",
        description="aiSFX: CNN trained on the categories of nine sound effect libraries",
        sampling_rate=SAMPLING_RATE,
        resampler=RESAMPLER,
        window="100 frames (2.3 s) every 50; a last one that is not full is left out; "
        "shorter clips padded",
        layer="last convolution block, mean over frequency, maximum over time",
        dimensions=512,
        rows_per="patch",
        licence="CC-BY-4.0",
        weights_sha256=sha256,
        source="Ma and Lerch, ISMIR 2022; weights: PyPI package aisfx 0.1.2",
    )
