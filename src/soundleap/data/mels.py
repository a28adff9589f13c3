"""Log-mels of all clips of a split, and pooled text states, computed once and kept in a folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from soundleap.audio.io import read_audio, write_bytes
from soundleap.audio.loudness import normalise_level
from soundleap.audio.mel import LogMel
from soundleap.data.latents import digest
from soundleap.data.manifest import Clip, read_manifest
from soundleap.errors import AudioFileError, InputError
from soundleap.models.text import TextEncoder

logger = logging.getLogger(__name__)
MIN_SAMPLES = 2048
TEXTS_AT_ONCE = 512


@dataclass(frozen=True)
class MelSet:
    """Clips as log-mels.

    Attributes:
        clips: their rows of the manifests.
        mels: ``[F, M] float16``, all frames one clip after the other.
        starts: ``[N + 1]``, where each clip begins, and the end.
    """

    clips: tuple[Clip, ...]
    mels: Tensor
    starts: Tensor

    def __len__(self) -> int:
        """Give the number N of clips."""
        return len(self.clips)

    def frames(self, index: int) -> int:
        """Give the number of mel frames of a clip."""
        return int(self.starts[index + 1] - self.starts[index])

    def mel(self, index: int) -> Tensor:
        """Give the log-mel ``[M, F] float32`` of a clip."""
        return self.mels[int(self.starts[index]) : int(self.starts[index + 1])].float().T


def open_mels(
    folder: Path,
    manifests: Sequence[str],
    split: str,
    front_end: LogMel,
    *,
    progress: bool = True,
) -> MelSet:
    """Open the mels of a split, or compute them first; sounds are brought to a common level.

    Args:
        folder: where the mels are kept, as ``mels-SPLIT-….safetensors``; the name holds a hash of
            the manifests and of the front-end, so that other data get another file.
        manifests: clip manifests.
        split: "train" or "heldout".
        front_end: waveform to mel.
        progress: whether to show a bar.

    Raises:
        InputError: if no clip of the split can be read; single ones are logged and left out.
    """
    config = json.dumps(asdict(front_end.config), sort_keys=True)
    key = digest([Path(manifest) for manifest in manifests]) + config
    path = folder / f"mels-{split}-{_short(key)}.safetensors"
    if not path.exists():
        _write_mels(path, manifests, split, front_end, progress=progress)
    with safe_open(path, framework="pt") as file:
        clips = tuple(_clip(row) for row in json.loads(file.metadata()["clips"]))
        return MelSet(clips, file.get_tensor("mels"), file.get_tensor("starts"))


def pooled_texts(
    folder: Path,
    texts: Sequence[str],
    *,
    progress: bool = True,
) -> Tensor:
    """Give pooled text states ``[N, E] float32`` of length 1, kept in `folder` as float16.

    Raises:
        InputError: as `TextEncoder.encode`, for instance for a text that is too long.
    """
    path = folder / f"texts-{_short(json.dumps(list(texts)))}.safetensors"
    if not path.exists():
        encoder, starts = TextEncoder.default(), range(0, len(texts), TEXTS_AT_ONCE)
        parts = [
            encoder.pooled(encoder.encode(texts[start : start + TEXTS_AT_ONCE])).half()
            for start in tqdm(starts, desc="texts", disable=not progress)
        ]
        write_bytes(path, save({"pooled": torch.cat(parts)}))
    with safe_open(path, framework="pt") as file:
        return torch.nn.functional.normalize(file.get_tensor("pooled").float(), dim=-1)


def _clip(row: dict[str, Any]) -> Clip:
    values: dict[str, Any] = row | {"captions": tuple(row["captions"])}
    return Clip(**values)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_mels(
    path: Path, manifests: Sequence[str], split: str, front_end: LogMel, *, progress: bool
) -> None:
    clips: list[Clip] = []
    mels: list[Tensor] = []
    for manifest in manifests:
        rows = [clip for clip in read_manifest(manifest) if clip.split == split]
        shown = tqdm(rows, desc=f"mels of {manifest}", disable=not progress)
        for clip, mel in _readable(shown, Path(manifest).parent, front_end):
            clips.append(clip)
            mels.append(mel)
    if not clips:
        raise InputError(f"no readable clip of split {split!r} in {', '.join(manifests)}")
    starts = torch.tensor([0, *(len(mel) for mel in mels)]).cumsum(0)
    metadata = {"clips": json.dumps([asdict(clip) for clip in clips])}
    write_bytes(path, save({"mels": torch.cat(mels), "starts": starts}, metadata))


@torch.no_grad()
def _readable(
    clips: Sequence[Clip] | tqdm[Clip], folder: Path, front_end: LogMel
) -> Iterator[tuple[Clip, Tensor]]:
    """Give each clip that can be read with its mel ``[F, M] float16``; log the others."""
    for clip in clips:
        try:
            samples = read_audio(
                folder / clip.file,
                sampling_rate=front_end.config.sampling_rate,
                start_in_s=clip.start,
                duration_in_s=clip.seconds,
            )
        except AudioFileError as error:
            logger.warning("skipped: %s: %s", clip.id, error)
            continue
        if len(samples) < MIN_SAMPLES:
            logger.warning("skipped: %s: shorter than %d samples", clip.id, MIN_SAMPLES)
            continue
        waveform = torch.from_numpy(normalise_level(samples))
        yield clip, front_end(waveform[None])[0].T.half().contiguous()
