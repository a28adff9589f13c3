"""A page for hosted spaces, in one file; for your own machine `soundleap serve` has a better one.

pip install soundleap gradio
python examples/gradio_app.py
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, SoundleapError
from soundleap.generator import Generator, Request

WAYS: dict[str, tuple[str, int]] = {
    "fast: 1 step": ("student", 1),
    "balanced: 2 steps": ("student", 2),
    "best: 4 steps": ("student", 4),
    "teacher: 25 steps": ("teacher", 25),
}
EXAMPLES = (
    ("waves break on a beach", 8.0),
    ("a rooster crows", 3.0),
    ("a drum kit plays a beat", 6.0),
    ("a piano plays a slow melody", 8.0),
)


@cache
def generator() -> Generator:
    """Load the model at the first sound."""
    return Generator()


def read_seed(text: str) -> int:
    """Read a seed; draw one if the text is empty.

    Raises:
        InputError: if it is no whole number from 0.
    """
    text = text.strip()
    if not text:
        return secrets.randbelow(2**32)
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"seed is {text[:40]!r}; give a whole number from 0, or nothing")
    return int(text)


def request(
    prompt: str, duration_in_s: float, way: str, guidance_scale: float, seed: str
) -> Request:
    """Make a request of what the page holds.

    Raises:
        InputError: for a seed or way that is not allowed.
    """
    if way not in WAYS:
        raise InputError(f"way is {way!r}; allowed: {', '.join(WAYS)}")
    network, steps = WAYS[way]
    return Request(
        prompt,
        duration_in_s=duration_in_s,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        seed=read_seed(seed),
        network="teacher" if network == "teacher" else "student",
    )


def make(
    prompt: str, duration_in_s: float, way: str, guidance_scale: float, seed: str
) -> tuple[tuple[int, NDArray[np.int16]], str]:
    """Make a sound: the sampling rate and 16-bit samples, and the seed that was used."""
    [result] = generator().generate([request(prompt, duration_in_s, way, guidance_scale, seed)])
    samples = np.round(np.clip(result.waveform[0], -1.0, 1.0) * 32767.0).astype(np.int16)
    return (result.sampling_rate, samples), str(result.seed)


def page() -> Any:
    """Lay the page out."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def answer(*values: Any) -> Any:
        try:
            return make(*values)
        except SoundleapError as error:
            raise gr.Error(str(error)) from None

    with gr.Blocks(title="Soundleap") as blocks:
        gr.Markdown("# Soundleap\nText in, sound out. Sounds are made by a machine: say so.")
        prompt = gr.Textbox(label="What is to be heard?", max_length=1000)
        duration = gr.Slider(0.5, 10.0, 5.0, step=0.5, label="Seconds")
        way = gr.Radio(list(WAYS), value="balanced: 2 steps", label="Steps")
        guidance = gr.Slider(1.0, 6.0, 4.5, step=0.5, label="Guidance")
        seed = gr.Textbox(label="Seed (empty: drawn)")
        button = gr.Button("Make a sound", variant="primary")
        sound = gr.Audio(label="Sound", autoplay=True)
        used = gr.Textbox(label="Seed of this sound", interactive=False)
        fields = [prompt, duration, way, guidance, seed]
        button.click(answer, fields, [sound, used])
        prompt.submit(answer, fields, [sound, used])
        gr.Examples([list(example) for example in EXAMPLES], [prompt, duration])
    return blocks


if __name__ == "__main__":
    page().queue(max_size=32).launch()
