"""The end of a pipe at which sounds are made; runs in a process or thread of its own.

The server sends ``("make", batch, [(sample, tries)...])``, ``("cancel", batch)`` and ``("stop",)``.
The worker answers with ``("ready", facts)`` or ``("failed", message)`` once, then, for each batch:
``("step", rows, step)`` after every query of the network, ``("sound", row, Made)`` or
``("error", row, kind, message)`` for every row, ``("spent", count, seconds)`` for every group that
was made at once, and ``("end", batch)``.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError, SoundleapError
from soundleap.ranking import Tries, candidate_seeds, kept_result
from soundleap.requests import Sample

if TYPE_CHECKING:
    from soundleap.generator import Generator
    from soundleap.ranking import Ranker

WAIT_POLICY = ("OMP_WAIT_POLICY", "PASSIVE")
"""Threads that wait for one another sleep. By default they spin, and where other processes want the
same cores a sound can take a hundred times as long; torch reads this when it is first imported."""
FaultKind = Literal["invalid_value", "not_finite", "out_of_memory", "internal", "cancelled"]


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker loads its model.

    Attributes:
        folder: the model's.
        device: see `Generator`.
        dtype: see `Generator`.
        low_memory: see `Generator`.
        max_batch_size: see `Generator`.
        threads: of torch in a process of its own; None leaves them as they are.
        adapters: files and weights; see `TextToAudio.load_adapters`.
    """

    folder: Path
    device: str = "auto"
    dtype: str | None = None
    low_memory: bool = False
    max_batch_size: int | None = None
    threads: int | None = None
    adapters: tuple[tuple[Path, float], ...] = ()


@dataclass(frozen=True)
class Made:
    """A sound as a worker gives it.

    Attributes:
        waveform: ``[C, S] float32`` in [-1, 1].
        sampling_rate: in Hz.
        metadata: what it was made with.
        seconds: its share of its batch's time in the stages text, network, codec.
    """

    waveform: NDArray[np.float32]
    sampling_rate: int
    metadata: dict[str, Any]
    seconds: dict[str, float]


class Cancelled(Exception):
    """Nobody waits for this batch any more."""


def run_process(pipe: Connection, options: WorkerOptions) -> None:
    """Be a worker in a process of its own, which ends when the server says so or is gone.

    Signals do not end it: Ctrl-C in a terminal and a service manager's stop reach the whole group
    of processes, and the server alone decides what is finished.
    """
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.environ.setdefault(*WAIT_POLICY)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    run(pipe, options)


def run(pipe: Connection, options: WorkerOptions) -> None:
    """Load the model, then make batches until the server says stop or is gone."""
    try:
        with pipe:
            generator, judge = _load(pipe, options), _Judge()
            while generator is not None:
                message = pipe.recv()
                if message[0] == "stop":
                    return
                if message[0] == "make":
                    _Batch(pipe, generator, judge, message[1], message[2]).run()
    except (EOFError, OSError):  # the server is gone, or has given this worker up
        return


def _load(pipe: Connection, options: WorkerOptions) -> Generator | None:
    from soundleap.generator import Generator

    try:
        generator = Generator(
            options.folder,
            device=options.device,
            dtype=options.dtype,
            low_memory=options.low_memory,
            max_batch_size=options.max_batch_size,
            adapters=options.adapters,
        )
        generator.warm_up()
    except SoundleapError as error:
        pipe.send(("failed", str(error)))
        return None
    facts = {
        "device": generator.pipeline.device.type,
        "max_batch_size": generator.max_batch_size,
        "pid": os.getpid(),
    }
    pipe.send(("ready", facts))
    return generator


@dataclass(frozen=True)
class _Try:
    """One of the tries of a row."""

    row: int
    number: int
    sample: Sample


class _Judge:
    """The ranking model, opened when a sound with several tries is first asked for."""

    @cached_property
    def ranker(self) -> Ranker:
        from soundleap.ranking import Ranker

        return Ranker()


class _Batch:
    """Samples that the server sent together, each with the number of its tries."""

    def __init__(
        self,
        pipe: Connection,
        generator: Generator,
        judge: _Judge,
        number: int,
        asked: Sequence[tuple[Sample, int]],
    ) -> None:
        self.pipe = pipe
        self.generator = generator
        self.judge = judge
        self.number = number
        self.asked = asked
        self.found = [Tries.of(sample.seed, best_of) for sample, best_of in asked]
        self.answered: set[int] = set()

    def run(self) -> None:
        """Make them and answer for every row."""
        from soundleap.generator import batches

        tries = [
            _Try(row, number, replace(sample, seed=seed))
            for row, (sample, best_of) in enumerate(self.asked)
            if self._texts_fit(row)
            for number, seed in enumerate(candidate_seeds(sample.seed, best_of))
        ]
        samples = [one.sample for one in tries]
        for group in batches(samples, self.generator.max_batch_size):
            self._make([tries[i] for i in group])
        self.pipe.send(("end", self.number))

    def _texts_fit(self, row: int) -> bool:
        from soundleap.batch import check_tokens

        sample, best_of = self.asked[row]
        try:
            check_tokens(sample, self.generator.pipeline.text_encoder)
            if best_of > 1:
                self.judge.ranker.read([sample.prompt])
        except InputError as error:
            self._fail([row], "invalid_value", str(error))
            return False
        except SoundleapError as error:  # the ranking model can't be opened
            self._fail([row], "internal", self._told(error, row))
            return False
        return True

    def _make(self, tries: Sequence[_Try]) -> None:
        """Make tries at once; after a failure each on its own, so that only the culprit fails."""
        tries = [one for one in tries if one.row not in self.answered]
        rows = [one.row for one in tries]
        if not tries:
            return
        try:
            self._make_at_once(tries)
        except Cancelled:
            self._fail(range(len(self.asked)), "cancelled", "cancelled")
        except (EOFError, OSError):
            raise
        except Exception as error:
            if len(tries) > 1:
                for one in tries:
                    self._make([one])
            elif isinstance(error, NotFiniteError):
                self._fail(rows, "not_finite", str(error))
            elif _out_of_memory(error):
                self._fail(rows, "out_of_memory", "there is not enough memory for this sound")
            else:
                self._fail(rows, "internal", self._told(error, rows[0]))

    def _make_at_once(self, tries: Sequence[_Try]) -> None:
        def report(step: int, timestep: float, x_0: object) -> None:
            self._check_cancelled()
            for one in tries:
                made = len(self.found[one.row].scores) - self.found[one.row].scores.count(None)
                done = made * one.sample.num_inference_steps + step + 1
                self.pipe.send(("step", [one.row], done))

        self._check_cancelled()
        pipeline = self.generator.pipeline
        audios, metadata, seconds = pipeline.run(
            [one.sample for one in tries], callback_on_step_end=report
        )
        share = {stage: value / len(tries) for stage, value in seconds.items()}
        rate = pipeline.manifest.sampling_rate
        self.pipe.send(("spent", len(tries), seconds))
        for one, audio, entry in zip(tries, audios, metadata, strict=True):
            self._keep(one, Made(audio, rate, entry, share))

    def _keep(self, one: _Try, made: Made) -> None:
        """Send a sound, or the best of its row once all of them are made."""
        found = self.found[one.row]
        if len(found.scores) > 1:
            ranker = self.judge.ranker
            score = ranker.score(made.waveform, made.sampling_rate, one.sample.prompt)
            if not found.add(one.number, score, made):
                return
            made = kept_result(found, ranker.model.weights_sha256)
        self.answered.add(one.row)
        self.pipe.send(("sound", one.row, made))

    def _check_cancelled(self) -> None:
        while self.pipe.poll():
            message = self.pipe.recv()
            if message[0] == "cancel" and message[1] == self.number:
                raise Cancelled
            if message[0] == "stop":
                raise EOFError

    def _fail(self, rows: Sequence[int], kind: FaultKind, message: str) -> None:
        for row in sorted({*rows} - self.answered):
            self.answered.add(row)
            self.pipe.send(("error", row, kind, message))

    def _told(self, error: Exception, row: int) -> str:
        """Give the traceback for the log, without the texts of the request."""
        text = "".join(traceback.format_exception(error))
        sample = self.asked[row][0]
        for secret in (sample.prompt, sample.negative_prompt, sample.struct_prompt):
            if secret:
                text = text.replace(secret, "[text]").replace(repr(secret)[1:-1], "[text]")
        return text


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)
