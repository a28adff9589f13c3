"""A model's parts: loaded when first needed and, on request, dropped when done."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from soundleap.bundle import Bundle, check_fit
from soundleap.bundle_schema import NetworkName

if TYPE_CHECKING:
    from soundleap.adapters import UsedAdapters
    from soundleap.models.codec import Codec
    from soundleap.models.seams import Network, Text


@runtime_checkable
class HalfPrecision(Protocol):
    """A part that can run in bfloat16 with an error at least 40 dB below the signal."""

    def use_bfloat16(self) -> None:
        """Change to it."""
        ...


class LoadedParts:
    """The parts of one model on one device.

    Attributes:
        low_memory: keep only what the stage at work needs; every call loads anew.
        adapters: merged into networks when these are loaded; None for none.
    """

    def __init__(
        self, bundle: Bundle, device: torch.device, low_memory: bool, half: bool = False
    ) -> None:
        """Open a model; nothing is loaded yet.

        Args:
            bundle: the opened model.
            device: where parts go.
            low_memory: keep only what the stage at work needs.
            half: let a vocoder that stands it run in bfloat16.
        """
        self.bundle = bundle
        self.device = device
        self.low_memory = low_memory
        self.half = half
        self._codec: Codec | None = None
        self._text: Text | None = None
        self._networks: dict[NetworkName, Network] = {}
        self._outline: Codec | None = None
        self.adapters: UsedAdapters | None = None

    @property
    def codec(self) -> Codec:
        """The codec."""
        if self._codec is None:
            self._codec = self.bundle.load_codec().to(self.device)
            if self.half and isinstance(self._codec.vocoder, HalfPrecision):
                self._codec.vocoder.use_bfloat16()
        return self._codec

    @property
    def outline(self) -> Codec:
        """A codec that tells lengths and shapes; with `low_memory` it holds no weights."""
        if not self.low_memory or self._codec is not None:
            return self.codec
        if self._outline is None:
            self._outline = self.bundle.outline_codec()
        return self._outline

    @property
    def text(self) -> Text:
        """The text encoder."""
        if self._text is None:
            self._text = self.bundle.load_text()
            self._text.to(self.device)
        return self._text

    def network(self, name: NetworkName) -> Network:
        """The student or the teacher.

        Raises:
            BundleError: if this model has none, or its file is missing, damaged or does not fit.
        """
        if name not in self._networks:
            network = self.bundle.load_network(name)
            guided = name == "student" and self.bundle.manifest.sampling.student_guided
            needed = {"channels": self.outline.channels, "guided": guided}
            if self._text is not None:
                needed["text_dim"] = self._text.dim
            check_fit(f"the {name} of {self.bundle.folder}", network, needed)
            if self.adapters is not None:
                self.adapters.merge_into(network, name)
            self._networks[name] = network.to(self.device)
        return self._networks[name]

    def use_adapters(self, adapters: UsedAdapters | None) -> None:
        """Merge other adapters from now on; networks are loaded anew."""
        self.adapters = adapters
        self._networks.clear()

    def done_with_text(self) -> None:
        """Drop the text encoder if memory is low."""
        if self.low_memory:
            self._text = None

    def done_with_networks(self) -> None:
        """Drop the networks if memory is low."""
        if self.low_memory:
            self._networks.clear()
            give_back_memory()

    def done_with_codec(self) -> None:
        """Drop the codec if memory is low."""
        if self.low_memory:
            self._codec = None
            give_back_memory()

    def to(self, device: torch.device) -> None:
        """Move what is loaded, and what will be."""
        self.device = device
        for part in (self._codec, self._text, *self._networks.values()):
            if part is not None:
                part.to(device)


def give_back_memory() -> None:
    """Return freed memory to the system where the C library (glibc) keeps it for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
