"""Times of the command line in new processes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from soundleap.bench.process import run_python
from soundleap.bench.report import ColdStart, Spread
from soundleap.bench.settings import PROMPTS, BenchSettings
from soundleap.errors import SoundleapError

_COMMAND = "import sys; from soundleap.cli.main import main; sys.exit(main())"
"""What the `soundleap` script holds; run by this interpreter, so that both are the same one."""

_IMPORTS = (
    "import time; start = time.perf_counter(); "
    "import soundleap.cli.generate, soundleap.generator, soundleap.audio.io; "
    "print(time.perf_counter() - start)"
)


def measure_cold_start(settings: BenchSettings, steps: int) -> ColdStart:
    """Run `soundleap generate` in new processes: once to warm the disk's cache, then measured.

    Raises:
        SoundleapError: if the command fails, with its last line.
    """
    environment = _environment(settings.threads)
    commands = [time_command(settings, steps, environment) for _ in range(settings.runs + 1)]
    imports = [time_imports(environment) for _ in range(settings.runs + 1)]
    return ColdStart(
        network=settings.network,
        num_inference_steps=steps,
        duration_in_s=settings.duration_in_s or 0.0,
        command_in_s=Spread.of(commands[1:]),
        import_in_s=Spread.of(imports[1:]),
    )


def time_command(settings: BenchSettings, steps: int, environment: dict[str, str]) -> float:
    """Give the seconds from the start of one `soundleap generate` to its end, the file written.

    Raises:
        SoundleapError: if the command fails or leaves no file.
    """
    with tempfile.TemporaryDirectory(prefix="soundleap-bench-") as folder:
        path = Path(folder) / "sound.wav"
        arguments = generate_arguments(settings, steps, path)
        start = time.perf_counter()
        run_python(["-c", _COMMAND, *arguments], environment, "a new process")
        seconds = time.perf_counter() - start
        if not path.exists():
            raise SoundleapError(f"`soundleap {' '.join(arguments)}` wrote no file")
    return seconds


def time_imports(environment: dict[str, str]) -> float:
    """Give the seconds that a new process spends on the command's imports."""
    return float(run_python(["-c", _IMPORTS], environment, "a new process"))


def generate_arguments(settings: BenchSettings, steps: int, path: Path) -> list[str]:
    """Give the arguments that make the first sound of a case."""
    model = [] if settings.model is None else ["--model", settings.model]
    teacher = ["--teacher"] if settings.network == "teacher" else []
    length = settings.duration_in_s
    return [
        *("generate", PROMPTS[0], "--output", str(path), "--quiet", "--seed", "0"),
        *("--steps", str(steps), *([] if length is None else ["--duration", f"{length!r}"])),
        *("--device", settings.device, *model, *teacher),
        *([] if settings.dtype is None else ["--dtype", settings.dtype]),
        *([] if settings.solver is None else ["--solver", settings.solver]),
        *(["--low-memory"] if settings.low_memory else []),
    ]


def _environment(threads: int | None) -> dict[str, str]:
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **own}
