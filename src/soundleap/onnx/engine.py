"""Sounds from an exported model with ONNX Runtime and NumPy alone; torch is never imported."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap._version import __version__
from soundleap.errors import InputError, NotFiniteError
from soundleap.onnx.folder import OnnxFolder
from soundleap.onnx.noise import TorchNoise
from soundleap.onnx.parts import Graph, TextGraphs, TextStates
from soundleap.onnx.phase import Transform, find_phase
from soundleap.onnx.sampling import (
    Denoise,
    NumpySchedule,
    sample_student,
    sample_teacher,
    student_timesteps,
    teacher_timesteps,
    to_x_0,
)
from soundleap.output import Result, scale_down
from soundleap.requests import Request, Sample, complete_all
from soundleap.token_limits import check_tokens

Floats = NDArray[np.floating[Any]]

SOLVERS = ("ddim", "dpmpp_2m")


class OnnxGenerator:
    """An exported model that serves lists of requests, like `soundleap.Generator`.

    Sounds are made one by one. A seed means the same noise as with torch, so that both engines make
    the same sound but for rounding.
    """

    def __init__(self, source: str | Path | OnnxFolder, *, threads: int | None = None) -> None:
        """Open an exported model; graphs are loaded when they are first needed.

        Args:
            source: a folder that `soundleap export onnx` wrote.
            threads: of ONNX Runtime; None takes one for each core.

        Raises:
            BundleError: if the folder is missing or not valid.
            InputError: if ONNX Runtime is not installed.
        """
        self.folder = source if isinstance(source, OnnxFolder) else OnnxFolder(source)
        self.manifest = self.folder.manifest
        self.threads = threads
        self.schedule = NumpySchedule(self.manifest.sampling.schedule)
        self._graphs: dict[str, Graph] = {}

    @cached_property
    def text(self) -> TextGraphs:
        """Tokenizer and text encoder."""
        return TextGraphs(self.folder, self._graph("text"))

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        """Make a sound for every request, in their order.

        Raises:
            InputError: for the first request that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        return [result for _, result in self.stream(requests)]

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Result]]:
        """Give each sound with its request's position as soon as it is made.

        Raises:
            InputError: for the first request that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        samples = complete_all(requests, self.manifest, self._check)
        return ((i, self._make(sample)) for i, sample in enumerate(samples))

    def _check(self, sample: Sample) -> None:
        check_tokens(sample, self.text)
        if sample.guidance_scale_post != 1:
            raise InputError("guidance_scale_post needs the engine torch; leave it out")
        if sample.solver is not None and sample.solver not in SOLVERS:
            raise InputError(
                f"solver {sample.solver} needs the engine torch; here: {', '.join(SOLVERS)}"
            )

    def _make(self, sample: Sample) -> Result:
        clock = _Clock()
        noise = TorchNoise(sample.seed)
        sizes = self.folder.description.sizes
        samples = round(sample.duration_in_s * self.manifest.sampling_rate)
        length = math.ceil(samples / (sizes.patch_frames * sizes.hop_length))
        with clock("load"):
            text = self.text
            network = self._graph(sample.network)
        with clock("text"):
            states = text.encode(_texts(sample))
        with clock("network"):
            latents = self._latents(sample, network, states, noise, length)
        _check_finite(latents, sample.network)
        waveform = self._decode(latents, noise, clock)[None, :samples]
        _check_finite(waveform, "codec")
        audio, gain = scale_down(waveform)
        metadata = self._metadata(sample, gain)
        return Result(audio, self.manifest.sampling_rate, sample.seed, metadata, clock.seconds)

    def _latents(
        self,
        sample: Sample,
        network: Graph,
        states: TextStates,
        noise: TorchNoise,
        length: int,
    ) -> Floats:
        shape = (1, self.folder.description.sizes.channels, length)
        sampling, schedule = self.manifest.sampling, self.schedule
        denoise = self._denoise(sample, network, states)
        scale = schedule.sigma(schedule.num_train_steps - 1.0)
        factor = np.float32(1.0 if sampling.initial_noise == "unit" else scale)
        if sample.network == "student":
            times = student_timesteps(sampling, sample.num_inference_steps)
            first = noise.randn(*shape) * factor
            return sample_student(
                denoise, first, lambda: noise.randn(*shape), times, schedule, sampling
            )
        times = teacher_timesteps(schedule, sample.num_inference_steps)
        solver = sample.solver or sampling.teacher_solver
        return sample_teacher(denoise, noise.randn(*shape) * factor, times, schedule, solver)

    def _denoise(self, sample: Sample, network: Graph, states: TextStates) -> Denoise:
        """Make the denoise function, one row a text.

        The formulas are those of `LatentSampler.student_denoise` and `teacher_denoise`.
        """
        embeds, mask = states
        w, rows = sample.guidance_scale, len(embeds)
        student = sample.network == "student"
        sampling = self.manifest.sampling
        prediction = sampling.student_prediction if student else sampling.prediction
        fixed: dict[str, Any] = {"text_embeds": embeds, "text_mask": mask}
        if sample.network in self.folder.description.guided:
            fixed["w"] = np.array([w, *[1.0] * (rows - 1)], np.float32)

        def denoise(x_t: Floats, t: float) -> Floats:
            alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
            batch = np.repeat(x_t, rows, axis=0)
            (output,) = network(x_t=batch, t=np.full(rows, t, np.float32), **fixed)
            x_0 = to_x_0(output, batch, alpha, sigma, prediction)
            if rows == 1:
                return x_0
            if student:
                return x_0[:1] - np.float32(w - 1) * (x_0[1:2] - x_0[2:3])
            return x_0[1:] + np.float32(w) * (x_0[:1] - x_0[1:])

        return denoise

    def _decode(self, latents: Floats, noise: TorchNoise, clock: _Clock) -> Floats:
        sizes = self.folder.description.sizes
        frames, bins = latents.shape[2] * sizes.patch_frames, sizes.n_fft // 2 + 1
        with clock("load"):
            decoder, magnitude, refine = map(self._graph, ("latent_decoder", "magnitude", "refine"))
        inputs = {"latents": latents}
        if sizes.draws_noise:
            inputs["noise"] = noise.randn(sizes.n_mels, frames)[None]
        phase = np.float32(2 * math.pi) * noise.rand(bins, frames)
        with clock("codec"):
            (mel,) = decoder(**inputs)
        with clock("vocoder"):
            transform = Transform(sizes.n_fft, sizes.hop_length, frames)
            (level,) = magnitude(mel=mel)
            spectrum = find_phase(
                np.ascontiguousarray(level[0].T),
                np.ascontiguousarray(phase.T),
                transform,
                sizes.phase_iterations,
                sizes.phase_momentum,
            ).T[None]
            parts = {
                "real": np.ascontiguousarray(spectrum.real),
                "imaginary": np.ascontiguousarray(spectrum.imag),
            }
            real, imaginary = refine(mel=mel, **parts)
            return transform.inverse((real[0] + 1j * imaginary[0]).astype(np.complex64).T)

    def _metadata(self, sample: Sample, gain: float) -> dict[str, Any]:
        return {
            "ai_generated": True,
            **{name: getattr(sample, name) for name in Sample.__dataclass_fields__},
            "model": self.manifest.name,
            "model_version": self.manifest.version,
            "model_fingerprint": self.manifest.fingerprint,
            "engine": "onnx",
            "dtype": "float32",
            "device": "cpu",
            "gain": gain,
            "library": f"soundleap {__version__}",
        }

    def _graph(self, name: str) -> Graph:
        if name not in self._graphs:
            self._graphs[name] = Graph(self.folder.file(f"{name}.onnx"), self.threads)
        return self._graphs[name]


def _texts(sample: Sample) -> list[str]:
    """List what the network is asked about: the prompt, then what guidance leads away from."""
    negative = sample.negative_prompt or ""
    if sample.network == "teacher":
        return [sample.prompt, negative] if sample.guidance_scale != 1 else [sample.prompt]
    return [sample.prompt, negative, ""] if negative else [sample.prompt]


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _check_finite(value: Floats, source: str) -> None:
    if not bool(np.isfinite(value).all()):
        raise NotFiniteError(f"the {source} gave NaN or infinity; try other settings or a seed")
