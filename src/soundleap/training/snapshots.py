"""Sounds and pictures that a run leaves behind, to be listened to and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from torch import Tensor

from soundleap.audio.io import write_bytes
from soundleap.audio.picture import write_spectrogram
from soundleap.training.run_plots import smoothed


def write_sounds(folder: Path, sounds: Mapping[str, Tensor], sampling_rate: int) -> None:
    """Write waveforms ``[S]`` as WAV files, each with its mel spectrogram as PNG beside it.

    Samples beyond full scale are scaled down by the sound's own peak.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, waveform in sounds.items():
        scaled = (waveform / max(1.0, float(waveform.abs().max()))).float().numpy()
        wav = BytesIO()
        soundfile.write(wav, scaled, sampling_rate, subtype="PCM_16", format="WAV")
        write_bytes(folder / f"{name}.wav", wav.getvalue(), overwrite=True)
        write_spectrogram(folder / f"{name}.png", scaled[None], sampling_rate, overwrite=True)


def plot_losses(stats: list[dict[str, float]], path: Path) -> None:
    """Draw every reported scalar against the iteration, smoothed, one small panel each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({key for line in stats for key in line} - {"iteration", "seconds"})
    figure, axes = pyplot.subplots(
        len(names) or 1, 1, figsize=(8, 2.2 * (len(names) or 1)), squeeze=False
    )
    for axis, name in zip(axes[:, 0], names, strict=True):
        points = [(line["iteration"], line[name]) for line in stats if name in line]
        x, y = zip(*points, strict=True)
        axis.plot(x, y, alpha=0.3)
        axis.plot(x, smoothed(y))
        axis.set_ylabel(name)
    axes[-1, 0].set_xlabel("iteration")
    figure.tight_layout()
    partial = path.with_suffix(".partial")
    figure.savefig(partial, dpi=80, format="png")
    pyplot.close(figure)
    partial.replace(path)
