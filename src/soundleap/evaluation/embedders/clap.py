"""LAION-CLAP: sounds and captions in one space of 512 numbers, at 48 kHz.

The network is transformers' `ClapModel`; the weights are yours to bring: a folder in transformers'
layout, or LAION's own `.pt` file with RoBERTa's `tokenizer.json` beside it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from soundleap.errors import BundleError, InputError, SoundleapError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
    file_sha256,
)
from soundleap.evaluation.embedders.clap_keys import clap_config, clap_state
from soundleap.evaluation.embedders.networks import (
    in_pieces,
    load_weights,
    numpy_scalars,
    read_weights,
)
from soundleap.evaluation.record import EmbedderInfo

SAMPLING_RATE = 48000
WINDOW_SAMPLES = 480000
LOW_HZ, HIGH_HZ = 50, 14000  # of LAION's checkpoints; transformers' default is another
MAX_TOKENS = 77
CAPTIONS_AT_ONCE = 64
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class ClapEmbedder:
    """LAION-CLAP on CPU or GPU.

    A clip is heard in windows of 10 s, one more ending with the clip; the vectors of several
    windows are averaged and scaled to length 1. Shorter clips are repeated as often as they fit and
    completed with zeros. Nothing is drawn at random: a checkpoint with feature fusion is given its
    windows as clips that are not longer than 10 s.

    Args:
        model: transformers' `ClapModel` with loaded weights.
        info: what it is.
        tokenizer: `tokenizers.Tokenizer` of RoBERTa; None if there is none (then captions can't be
            embedded and `info.has_text` must be False).
        device: torch device.
    """

    def __init__(
        self, model: Any, info: EmbedderInfo, tokenizer: Any = None, device: str = "cpu"
    ) -> None:
        self.info, self._device = info, device
        self._model = model.float().to(device).eval()
        self._tokenizer = tokenizer
        if tokenizer is not None:
            _cut_and_pad(tokenizer, model)
        extractor: Any = importlib.import_module("transformers").ClapFeatureExtractor
        mode = "fusion" if model.config.audio_config.enable_fusion else "rand_trunc"
        self._extract = extractor(
            truncation=mode, padding="repeatpad", frequency_min=LOW_HZ, frequency_max=HIGH_HZ
        )

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed a mono waveform [S] at 48 kHz: [1, D], of length 1; see `Embedder.analyse`."""
        check_waveform(waveform)
        windows = [_quantised(window) for window in clap_windows(waveform)]
        mels: Any = self._extract(windows, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        rows = in_pieces(self._sounds, mels["input_features"], 4, self._device)
        row = F.normalize(rows.mean(dim=0, keepdim=True), dim=-1)
        notes = ("repeated to fill 10 s",) if waveform.size < WINDOW_SAMPLES else ()
        return ClipFeatures(row.numpy(), None, notes)

    def embed_text(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions: [n, D] float32, rows of length 1; cut after 77 tokens.

        Raises:
            InputError: there is no tokenizer.
        """
        if self._tokenizer is None:
            raise InputError("this CLAP has no tokenizer: put RoBERTa's tokenizer.json beside it")
        rows = [
            self._texts(captions[start : start + CAPTIONS_AT_ONCE])
            for start in range(0, len(captions), CAPTIONS_AT_ONCE)
        ]
        return torch.cat(rows).numpy()

    def _sounds(self, mels: Tensor) -> Tensor:
        return embed_mels(self._model, mels)

    def _texts(self, captions: Sequence[str]) -> Tensor:
        return embed_captions(self._model, self._tokenizer, captions).cpu()


def embed_mels(model: Any, mels: Tensor) -> Tensor:
    """Embed what the front-end gives of sounds: ``[B, D]`` of length 1."""
    options: dict[str, Any] = {}
    if model.config.audio_config.enable_fusion:
        options["is_longer"] = torch.zeros(len(mels), 1, dtype=torch.bool, device=mels.device)
    return _unit(model.get_audio_features(mels, **options))


@torch.no_grad()
def embed_captions(model: Any, tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Embed captions: ``[B, D]`` of length 1; cut after 77 tokens."""
    encoded = tokenizer.encode_batch(list(captions))
    device = next(model.parameters()).device
    ids = torch.tensor([e.ids for e in encoded], device=device)
    mask = torch.tensor([e.attention_mask for e in encoded], device=device)
    return _unit(model.get_text_features(ids, attention_mask=mask))


def _unit(found: Any) -> Tensor:
    """Unwrap transformers' answer (an object since version 5) and scale rows to length 1."""
    return F.normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)


def clap_windows(waveform: FloatArray) -> list[FloatArray]:
    """Cut a waveform [S] at 48 kHz into windows of 10 s, the last ending with the clip."""
    last = max(waveform.size - WINDOW_SAMPLES, 0)
    starts = list(range(0, last + 1, WINDOW_SAMPLES))
    if starts[-1] != last:
        starts.append(last)
    return [waveform[start : start + WINDOW_SAMPLES] for start in starts]


def _quantised(waveform: FloatArray) -> FloatArray:
    """Round to 16 bit towards zero, as LAION's own extractor does."""
    return (np.trunc(np.clip(waveform, -1, 1) * 32767) / 32767).astype(np.float32)


def open_clap(weights: str | None, device: str) -> ClapEmbedder:
    """Open CLAP from a folder in transformers' layout or from LAION's `.pt` file.

    Raises:
        InputError: nothing there.
        BundleError: it does not fit.
        SoundleapError: transformers is not installed.
    """
    if weights is None:
        raise InputError("clap needs a folder or file of weights")
    model, tokenizer, info = load_clap(weights)
    return ClapEmbedder(model, info, tokenizer, device)


def load_clap(weights: str) -> tuple[Any, Any, EmbedderInfo]:
    """Load a CLAP: transformers' `ClapModel`, RoBERTa's tokenizer or None, and what it is.

    Captions are cut and padded by the tokenizer. Raises as `open_clap`.
    """
    path = Path(weights)
    try:
        library: Any = importlib.import_module("transformers")
    except ImportError:
        raise SoundleapError("clap needs transformers: run `pip install transformers`") from None
    folder, file = _place(path)
    model = _from_folder(library, folder) if path.is_dir() else _from_file(library, file)
    tokenizer = _tokenizer(folder / "tokenizer.json")
    if tokenizer is not None:
        _cut_and_pad(tokenizer, model)
    return model, tokenizer, clap_info(model, file, tokenizer is not None)


def _cut_and_pad(tokenizer: Any, model: Any) -> None:
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_id=model.config.text_config.pad_token_id, pad_token="<pad>")


def _place(path: Path) -> tuple[Path, Path]:
    if path.is_file():
        return path.parent, path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path, path / name
    raise InputError(
        f"{path} is neither LAION's .pt file nor a folder with config.json and {WEIGHT_FILES[0]}"
    )


def _from_folder(library: Any, folder: Path) -> Any:
    try:
        model, info = library.ClapModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder} is not a CLAP folder: {error}") from None
    if info["missing_keys"]:  # transformers would fill them with random numbers
        raise BundleError(f"{folder} is not complete: {sorted(info['missing_keys'])} are missing")
    return model


def _from_file(library: Any, file: Path) -> Any:
    state = clap_state(read_weights(file, numpy_scalars()))
    model = library.ClapModel(library.ClapConfig(**clap_config(state)))
    own = model.state_dict()
    computed = {k: v for k, v in own.items() if k.endswith(("position_ids", "token_type_ids"))}
    load_weights(model, {**computed, **state}, file)
    return model


def _tokenizer(path: Path) -> Any:
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def clap_info(model: Any, file: Path, has_text: bool) -> EmbedderInfo:
    """Describe a CLAP."""
    fusion = ", feature fusion" if model.config.audio_config.enable_fusion else ""
    return EmbedderInfo(
        name="clap",
        description=f"LAION-CLAP ({file.name}{fusion}): HTSAT and RoBERTa, contrastive",
        sampling_rate=SAMPLING_RATE,
        resampler=RESAMPLER,
        window="10 s windows, one more ending with the clip, averaged; shorter clips repeated, "
        "then padded; 16 bit",
        layer="projection, length 1",
        dimensions=int(model.config.projection_dim),
        rows_per="clip",
        licence="CC0-1.0 (LAION's checkpoints); see the card of yours",
        weights_sha256=file_sha256(file),
        source="Wu et al. 2023, arXiv 2211.06687; weights: yours",
        has_text=has_text,
    )
