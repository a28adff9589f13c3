"""Mel front-ends of both families."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from soundleap.audio.mel import AUDIOLDM_MEL, NAT_MEL, LogMel, normalise_waveform, pad_mel
from soundleap.audio.stft import fourier_basis

from .compare import Kind
from .family import Family, output
from .items import ParityError


class FrontEnd(Family):
    """What both front-ends have in common."""

    @cached_property
    def front_end(self) -> LogMel:
        """The front-end."""
        raise NotImplementedError

    @output("mel_basis", Kind.MEL)
    def mel_basis(self) -> Tensor:
        """Give the filters."""
        return self.front_end.filterbank

    def spectrogram(self, which: str = "") -> Tensor:
        """Give the log-mel spectrogram of the waveform of a name."""
        return self.front_end(self.item.input(f"wav_{which}" if which else "wav"))


class AudioLDM(FrontEnd):
    """``audioldm_mel_frontend``: of ConsistencyTTA and TANGO."""

    @cached_property
    def front_end(self) -> LogMel:
        """The front-end."""
        values = self.item.constructor
        return LogMel(
            replace(
                AUDIOLDM_MEL,
                sampling_rate=values["sampling_rate"],
                n_fft=values["filter_length"],
                win_length=values["win_length"],
                hop_length=values["hop_length"],
                n_mels=values["n_mel_channels"],
                f_min_in_hz=values["mel_fmin"],
                f_max_in_hz=values["mel_fmax"],
            )
        )

    @cached_property
    def magnitude(self) -> Tensor:
        """Magnitudes of the waveform."""
        return self.front_end.magnitude(self.item.input("wav"))

    @output("mel", Kind.LN)
    @output("mel_(?!basis$){which:word}", Kind.LN)
    def mel(self, which: str = "") -> Tensor:
        """Give a spectrogram."""
        return self.spectrogram(which)

    @output("log_magnitude", Kind.LN)
    def log_magnitude(self) -> Tensor:
        """Give their logarithm."""
        return self.front_end.log(self.magnitude)

    @output("energy", Kind.MEL)
    def energy(self) -> Tensor:
        """Give the norm of every frame."""
        return self.magnitude.norm(dim=1)

    @output("fbank", Kind.LN)
    def fbank(self) -> Tensor:
        """Give the spectrogram as the autoencoder gets it: cut or filled up, frames first."""
        frames = self.item.output("fbank").shape[1]
        return pad_mel(self.spectrogram(), frames).transpose(1, 2)

    @output("read_wav_file", Kind.STEP)
    def read_wav_file(self) -> Tensor:
        """Give a file's waveform as it is read: centred, scaled, of the wanted length."""
        samples = self.item.output("read_wav_file").shape[-1]
        return normalise_waveform(self.item.input("raw_wav")[None], samples)

    @output("forward_basis_rows", Kind.TABLE)
    def forward_basis_rows(self) -> Tensor:
        """Give some rows of the transform as a matrix."""
        words = re.search(r"rows ([\d,\s]+)", self.item.meaning("out/forward_basis_rows"))
        if words is None:
            raise ParityError("the description of out/forward_basis_rows does not name its rows")
        rows = [int(number) for number in re.findall(r"\d+", words[1])]
        return fourier_basis(self.front_end.window)[rows]


class AudioLCM(FrontEnd):
    """``audiolcm_mel_frontend``: of AudioLCM and Make-An-Audio 2."""

    @cached_property
    def front_end(self) -> LogMel:
        """The front-end."""
        values = self.item.constructor
        return LogMel(
            replace(
                NAT_MEL,
                sampling_rate=values["audio_sample_rate"],
                n_fft=values["fft_size"],
                win_length=values["win_size"],
                hop_length=values["hop_size"],
                n_mels=values["audio_num_mel_bins"],
                f_min_in_hz=values["fmin"],
                f_max_in_hz=values["fmax"],
            )
        )

    @output("mel", Kind.MEL)
    @output("mel_(?!basis$){which:word}", Kind.MEL)
    def mel(self, which: str = "") -> Tensor:
        """Give a spectrogram."""
        return self.spectrogram(which)
