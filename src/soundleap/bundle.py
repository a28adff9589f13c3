"""A model folder: safetensors files, ``soundleap.json`` and ``MODEL_CARD.md``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from soundleap.bundle_schema import (
    BuiltinText,
    FileHash,
    Manifest,
    NetworkName,
    Part,
    PartName,
    TextPart,
    read_manifest,
)
from soundleap.errors import BundleError

if TYPE_CHECKING:
    from soundleap.models.codec import Codec
    from soundleap.models.seams import Network, Text

BUILTIN_TEXT = Path(__file__).parent / "assets" / "text"
TEXT_FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Bundle:
    """An opened model folder; parts are verified and loaded when they are asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Raises:
            BundleError: if the folder or its description is missing or not valid.
        """
        self.folder = Path(folder)
        if not os.path.isdir(self.folder):  # unlike Path.is_dir it never raises
            raise BundleError(f"model folder {self.folder} does not exist")
        self.manifest: Manifest = read_manifest(self.folder)

    def load_codec(self) -> Codec:
        """Load the codec, float32 on the CPU.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        from soundleap.audio.mel import LogMel
        from soundleap.models.codec import Codec
        from soundleap.models.registry import load_latent_codec, load_vocoder

        latent = load_latent_codec(self._verified(self.manifest.parts.codec))
        vocoder = load_vocoder(self._verified(self.manifest.parts.vocoder))
        codec = Codec(LogMel(vocoder.config.mel), latent, vocoder).eval().requires_grad_(False)
        if codec.sampling_rate != self.manifest.sampling_rate:
            raise BundleError(
                f"{self.folder} says {self.manifest.sampling_rate} Hz but its vocoder makes "
                f"{codec.sampling_rate} Hz"
            )
        return codec

    def outline_codec(self) -> Codec:
        """Build the codec without its weights: it tells lengths and shapes, and can't compute.

        Raises:
            BundleError: if a file is missing or its configuration does not fit.
        """
        import torch

        from soundleap.audio.mel import LogMel
        from soundleap.models.codec import Codec
        from soundleap.models.registry import LATENT_CODECS, VOCODERS, outline

        parts = self.manifest.parts
        with torch.device("meta"):
            latent = outline(self.folder / parts.codec.file, LATENT_CODECS)
            vocoder = outline(self.folder / parts.vocoder.file, VOCODERS)
            return Codec(LogMel(vocoder.config.mel), latent, vocoder)

    def part_file(self, name: PartName) -> Path | None:
        """Give a part's file, compared with its hash; None where the model has no such part.

        Raises:
            BundleError: if the file is missing or damaged.
        """
        part: Part | None = getattr(self.manifest.parts, name)
        return None if part is None else self._verified(part)

    def load_network(self, name: NetworkName) -> Network:
        """Load the student or the teacher, float32 on the CPU.

        Raises:
            BundleError: if this model has none, or the file is missing or damaged.
        """
        from soundleap.models.registry import load_network

        part: Part | None = getattr(self.manifest.parts, name)
        if part is None:
            raise BundleError(f"model {self.manifest.name} has no {name}")
        return load_network(self._verified(part))

    def load_text(self) -> Text:
        """Load the text encoder.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        from soundleap.models.registry import text_class

        folder = self._verified_text(self.manifest.parts.text)
        return text_class(folder).from_folder(folder)

    @property
    def text_folder(self) -> Path | None:
        """The text encoder's own folder; None for the built-in one."""
        text = self.manifest.parts.text
        return self.folder / text.folder if isinstance(text, TextPart) else None

    def verify(self) -> None:
        """Compare every file with its recorded hash.

        Raises:
            BundleError: naming the first file that is missing or differs, and both hashes.
        """
        parts = self.manifest.parts
        for part in (parts.codec, parts.vocoder, parts.student, parts.teacher):
            if part is not None:
                self._verified(part)
        self._verified_text(parts.text)

    def _verified(self, part: Part) -> Path:
        path = self.folder / part.file
        check_file(path, part)
        return path

    def _verified_text(self, text: BuiltinText | TextPart) -> Path:
        if isinstance(text, BuiltinText):
            found = hash_builtin_text()
            if found.builtin != text.builtin:
                raise BundleError(
                    f"model {self.manifest.name} was made for another text encoder (SHA-256 "
                    f"{text.builtin}) than this Soundleap brings ({found.builtin}): use the "
                    "version of Soundleap that it was made for"
                )
            return BUILTIN_TEXT
        folder = self.folder / text.folder
        for name, recorded in text.files.items():
            check_file(folder / name, recorded)
        return folder


def check_fit(whose: str, network: Network, needed: Mapping[str, int]) -> None:
    """Raise `BundleError` unless a network's configuration has these values."""
    found = {key: getattr(network.config, key) for key in needed}
    if found != needed:
        raise BundleError(f"{whose} does not fit the other parts: it has {found}, needed {needed}")


def hash_builtin_text() -> BuiltinText:
    """Measure the text encoder that comes with the package."""
    hashes = [hash_file(BUILTIN_TEXT / name).sha256 for name in TEXT_FILES]
    return BuiltinText(builtin=hashlib.sha256("".join(hashes).encode()).hexdigest())


def check_file(path: Path, recorded: FileHash) -> None:
    """Raise `BundleError` unless a file has the recorded size and hash."""
    found = hash_file(path)
    if found.bytes != recorded.bytes or found.sha256 != recorded.sha256:
        raise BundleError(
            f"{path} is damaged: it has {found.bytes} bytes and SHA-256 {found.sha256}, recorded "
            f"are {recorded.bytes} bytes and {recorded.sha256}; fetch the model again"
        )


def hash_file(path: Path) -> FileHash:
    """Measure a file.

    Raises:
        BundleError: if it can't be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileHash(sha256=digest, bytes=path.stat().st_size)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; fetch the model again") from None
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from None
