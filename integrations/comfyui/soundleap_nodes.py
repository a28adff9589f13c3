"""Soundleap as ComfyUI nodes: load a model, make sounds, save them with their settings.

Put this file into ``ComfyUI/custom_nodes`` and install soundleap in ComfyUI's Python. Sounds are
ComfyUI's own AUDIO, so that its other audio nodes take them.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

CATEGORY = "audio/soundleap"
NOT_GIVEN = 0.0
"""Value of a number that stands for the model's default: widgets can't be left empty."""


class SoundleapLoadBundle:
    """Load a model: a known name, a folder or a hub id."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Load a Soundleap model by name, folder or hub id."
    RETURN_TYPES = ("SOUNDLEAP_MODEL",)
    RETURN_NAMES = ("model",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        """Say what the node takes."""
        return {
            "required": {
                "source": ("STRING", {"default": "default"}),
                "device": (["auto", "cpu", "cuda", "mps"], {"default": "auto"}),
                "dtype": (["float32", "bfloat16"], {"default": "float32"}),
            },
            "optional": {"low_memory": ("BOOLEAN", {"default": False})},
        }

    def load(self, source, device, dtype, low_memory=False):
        """Give the loaded model."""
        from soundleap import TextToAudio

        return (
            TextToAudio.from_pretrained(source, device=device, dtype=dtype, low_memory=low_memory),
        )


class SoundleapGenerate:
    """Make sounds from a prompt; a count above 1 gives a batch with rising seeds."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Make sounds from text. 0 steps, seconds or guidance: the model's default."
    RETURN_TYPES = ("AUDIO", "STRING")
    RETURN_NAMES = ("audio", "settings")
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        """Say what the node takes."""
        return {
            "required": {
                "model": ("SOUNDLEAP_MODEL",),
                "prompt": ("STRING", {"default": "rain on a tin roof", "multiline": True}),
                "seconds": (
                    "FLOAT",
                    {"default": 5.0, "min": NOT_GIVEN, "max": 600.0, "step": 0.1},
                ),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000}),
                "guidance": (
                    "FLOAT",
                    {"default": NOT_GIVEN, "min": NOT_GIVEN, "max": 20.0, "step": 0.1},
                ),
                "seed": (
                    "INT",
                    {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True},
                ),
                "count": ("INT", {"default": 1, "min": 1, "max": 64}),
                "network": (["default", "student", "teacher"], {"default": "default"}),
            },
            "optional": {"negative_prompt": ("STRING", {"default": "", "multiline": True})},
        }

    def generate(
        self, model, prompt, seconds, steps, guidance, seed, count, network, negative_prompt=""
    ):
        """Give the sounds as one batch, and their settings as JSON."""
        output = model(
            prompt,
            duration_in_s=seconds or None,
            num_inference_steps=steps or None,
            guidance_scale=guidance or None,
            negative_prompt=negative_prompt or None,
            seed=seed,
            num_waveforms_per_prompt=count,
            network=None if network == "default" else network,
            callback_on_step_end=_watcher(steps),
        )
        waveform = torch.stack([torch.from_numpy(audio) for audio in output.audios])
        audio = {"waveform": waveform, "sample_rate": output.sampling_rate}
        return (audio, json.dumps(output.metadata))


class SoundleapSaveAudio:
    """Write each sound of a batch; with `settings` connected, files tell how they were made."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Save sounds in ComfyUI's output folder, with the settings that made them."
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        """Say what the node takes."""
        return {
            "required": {
                "audio": ("AUDIO",),
                "filename_prefix": ("STRING", {"default": "soundleap"}),
                "format": (["flac", "wav", "ogg", "opus", "mp3"], {"default": "flac"}),
            },
            "optional": {"settings": ("STRING", {"forceInput": True})},
        }

    def save(self, audio, filename_prefix, format, settings=None):
        """Write the files; ComfyUI shows what is returned."""
        from soundleap import write_audio

        waveform = audio["waveform"].detach().cpu().float()
        metadata = json.loads(settings) if settings else [None] * len(waveform)
        if len(metadata) != len(waveform):
            raise ValueError(
                f"settings are those of {len(metadata)} sounds, audio has {len(waveform)}; "
                "connect both to one Soundleap Generate node"
            )
        folder, name, number, subfolder = _place(filename_prefix)
        results = []
        for sound, entry in zip(waveform, metadata, strict=True):
            while (path := folder / f"{name}_{number:05}_.{format}").exists():
                number += 1
            write_audio(path, sound.numpy(), audio["sample_rate"], metadata=entry)
            results.append({"filename": path.name, "subfolder": subfolder, "type": "output"})
        return {"ui": {"audio": results}}


def _place(prefix):
    """Ask ComfyUI where files go; outside of it they go to the folder ``output``."""
    if find_spec("folder_paths") is not None:
        paths = import_module("folder_paths")
        folder, name, number, subfolder, _ = paths.get_save_image_path(
            prefix, paths.get_output_directory()
        )
        return Path(folder), name, number, subfolder
    parts = Path(prefix)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"filename_prefix is {prefix!r}; it must stay in the output folder")
    folder = Path("output") / parts.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder, parts.name, 1, "" if parts.parent == Path(".") else parts.parent.as_posix()


def _watcher(steps):
    """Show progress in ComfyUI and stop when its user asks for that; None outside of it."""
    if find_spec("comfy") is None:
        return None
    management = import_module("comfy.model_management")
    bar = import_module("comfy.utils").ProgressBar(steps) if steps else None

    def report(step, t, latents):
        management.throw_exception_if_processing_interrupted()
        if bar is not None:
            bar.update(1)

    return report


NODE_CLASS_MAPPINGS = {
    "SoundleapLoadBundle": SoundleapLoadBundle,
    "SoundleapGenerate": SoundleapGenerate,
    "SoundleapSaveAudio": SoundleapSaveAudio,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SoundleapLoadBundle": "Soundleap Load Bundle",
    "SoundleapGenerate": "Soundleap Generate",
    "SoundleapSaveAudio": "Soundleap Save Audio",
}
