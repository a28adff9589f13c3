"""Bundles of ConsistencyTTA and TANGO: U-Nets, AudioLDM's autoencoder and vocoder, FLAN-T5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soundleap.bundle_schema import Sampling
from soundleap.errors import BundleError, InputError
from soundleap.importers import consistencytta, tango
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.codecs import SCALE, audioldm_parts, open_audioldm
from soundleap.importers.opened import Opened
from soundleap.importers.plan import Options, PartPlan, Plan
from soundleap.importers.text_towers import open_t5, t5_text

KEPT_SETTINGS = (
    "ema_decay",
    "loss_type",
    "num_diffusion_steps",
    "prefix",
    "snr_gamma",
    "stage",
    "target_ema_decay",
    "teacher_guidance_scale",
    "text_encoder_name",
    "unet_model_config",
    "use_edm",
    "use_lora",
)
"""What is recorded of the settings of a training run."""


def plan_two_dimensional(opened: Opened, options: Options, name: str) -> Plan:
    """Plan a bundle of ConsistencyTTA or TANGO.

    Raises:
        BundleError: if a part is missing, with what to give for it, or does not fit.
        InputError: for an option that this family has no use for.
    """
    if options.vocoder is not None or options.bert_tokenizer is not None:
        raise InputError(f"{opened.family} needs no --vocoder and no --bert-tokenizer")
    networks = _networks(opened, options)
    vae, codec = _codec(opened, options)
    text = opened.checkpoint
    published = text.under("text_encoder.")
    if options.text_encoder is not None or not published:
        text = open_t5(options.text_encoder)
        published = dict(text)
    checkpoints = list({id(x): x for x in (opened.checkpoint, vae, text)}.values())
    return Plan(
        family=opened.family,
        name=name,
        version=f"epoch {opened.epoch}" if opened.epoch >= 0 else "1",
        sampling=_sampling(opened, networks),
        parts=[*codec, *networks],
        text=t5_text(published, options),
        checkpoints=checkpoints,
        sources=[checkpoint.path for checkpoint in checkpoints],
        facts=_facts(opened, options),
    )


def _networks(opened: Opened, options: Options) -> list[PartPlan]:
    if opened.form == "ctta-training":
        return consistencytta.training_networks(opened.checkpoint, opened.settings, options)
    if opened.form == "ctta-unet":
        return consistencytta.demo_network(opened.checkpoint, options)
    return consistencytta.plain_network(opened.checkpoint, options)


def _codec(opened: Opened, options: Options) -> tuple[Checkpoint, list[PartPlan]]:
    path = options.vae or opened.vae
    if path is not None:
        return open_audioldm(path)
    inside = opened.checkpoint.under("vae.")
    if not inside:
        raise BundleError(
            f"{opened.checkpoint.path} holds no autoencoder; give audioldm-s-full.ckpt, "
            "vae_state_dict.pt or pytorch_model_vae.bin with --vae"
        )
    # A training checkpoint never holds the factor: training reads it from AudioLDM's file.
    return opened.checkpoint, audioldm_parts(inside, Path(opened.checkpoint.path), SCALE)


def _sampling(opened: Opened, networks: list[PartPlan]) -> Sampling:
    if opened.family == "tango":
        return tango.sampling()
    points = opened.settings.get("num_diffusion_steps", consistencytta.GRID_POINTS)
    if not isinstance(points, int) or not 2 <= points <= 1000:
        raise BundleError(f"num_diffusion_steps is {points!r}; allowed: 2 to 1000")
    student = next((x.config for x in networks if x.name == "student"), None)
    return consistencytta.sampling(points, guided=student is None or student.guided)


def _facts(opened: Opened, options: Options) -> dict[str, Any]:
    settings = {key: opened.settings[key] for key in KEPT_SETTINGS if key in opened.settings}
    facts: dict[str, Any] = {"layout": opened.form}
    if opened.form == "ctta-training":
        facts["copy"] = options.which or "ema"
    return {**facts, "training": settings} if settings else facts
