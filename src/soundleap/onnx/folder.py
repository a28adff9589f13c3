"""The folder that `soundleap export onnx` writes: graphs, a tokenizer and a description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field, ValidationError

from soundleap.bundle import check_file
from soundleap.bundle_schema import FileHash, Manifest, NetworkName, PlainName, Strict
from soundleap.errors import BundleError, told_faults

DESCRIPTION = "soundleap_onnx.json"
TOKENIZER = "tokenizer.json"
ONNX_FORMAT = 1


class Sizes(Strict):
    """What the engine must know that the graphs don't tell.

    Attributes:
        channels: of the latents, C.
        patch_frames: mel frames a latent vector.
        draws_noise: the latent decoder takes noise.
        n_mels: mel bins, M.
        n_fft: of the vocoder's transform.
        hop_length: samples a mel frame.
        phase_iterations: of the search for a phase.
        phase_momentum: of the search for a phase.
        max_tokens: longest prompt in tokens.
    """

    channels: Annotated[int, Field(gt=0)]
    patch_frames: Annotated[int, Field(gt=0)]
    draws_noise: bool
    n_mels: Annotated[int, Field(gt=0)]
    n_fft: Annotated[int, Field(gt=0)]
    hop_length: Annotated[int, Field(gt=0)]
    phase_iterations: Annotated[int, Field(ge=0)]
    phase_momentum: float
    max_tokens: Annotated[int, Field(gt=0)]


class Description(Strict):
    """All of ``soundleap_onnx.json``.

    Attributes:
        onnx_format: 1.
        model: the description of the model that was exported; a sound's metadata names it.
        sizes: see `Sizes`.
        guided: networks that take the guidance scale as an input.
        files: hashes of the graphs and the tokenizer.
    """

    onnx_format: Literal[1] = ONNX_FORMAT
    model: Manifest
    sizes: Sizes
    guided: tuple[NetworkName, ...]
    files: dict[PlainName, FileHash]


class OnnxFolder:
    """An exported model; its manifest is that of the model it was made from."""

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Raises:
            BundleError: if it is missing, was not made by the export, or is not valid.
        """
        self.folder = Path(folder)
        self.description = _read(self.folder)
        self.manifest: Manifest = self.description.model

    def file(self, name: str) -> Path:
        """Give a file's path, after comparing it with its recorded hash.

        Raises:
            BundleError: if it is missing or damaged.
        """
        recorded = self.description.files.get(name)
        if recorded is None:
            raise BundleError(f"{self.folder / DESCRIPTION} lists no {name}; export it again")
        check_file(self.folder / name, recorded)
        return self.folder / name


def is_onnx_folder(folder: str | Path) -> bool:
    """Whether this is a folder that `soundleap export onnx` wrote."""
    try:
        return (Path(folder) / DESCRIPTION).is_file()
    except (OSError, ValueError):
        return False


def _read(folder: Path) -> Description:
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder} holds no exported model (it has no {DESCRIPTION}): make one with "
            "`soundleap export onnx OUT --model MODEL`"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    record = cast("dict[str, object]", values) if isinstance(values, dict) else {}
    version = record.get("onnx_format")
    if isinstance(version, int) and version > ONNX_FORMAT:
        raise BundleError(
            f"{path} has onnx_format {version}, this Soundleap reads up to {ONNX_FORMAT}: "
            "upgrade with `pip install -U soundleap`"
        )
    try:
        return Description.model_validate(values)
    except ValidationError as error:
        raise BundleError(f"{path} is not valid: {told_faults(error, 'model')}") from None
