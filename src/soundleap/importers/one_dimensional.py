"""Bundles of AudioLCM and Make-An-Audio 2: transformers, 1-D autoencoder, BigVGAN, BERT and T5."""

from __future__ import annotations

from soundleap.errors import BundleError, InputError
from soundleap.importers import audiolcm, make_an_audio_2
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.codecs import FIRST_STAGE, autoencoder1d_part, open_bigvgan
from soundleap.importers.opened import Opened
from soundleap.importers.plan import Options, PartPlan, Plan, read_scale
from soundleap.importers.text_towers import bert_t5_text


def plan_one_dimensional(opened: Opened, options: Options, name: str) -> Plan:
    """Plan a bundle of AudioLCM or Make-An-Audio 2.

    Raises:
        BundleError: if a part is missing, with what to give for it, or does not fit.
        InputError: for an option that this family has no use for.
    """
    checkpoint = opened.checkpoint
    if options.text_encoder is not None:
        raise InputError(
            f"{opened.family} needs no --text-encoder: its encoders were trained further, and the "
            "checkpoint holds them"
        )
    system = audiolcm if opened.family == "audiolcm" else make_an_audio_2
    networks = system.networks(checkpoint, options)
    vae, codec = _codec(checkpoint, options)
    vocoder_path = options.vocoder or opened.vocoder
    if vocoder_path is None:
        raise BundleError(
            f"{checkpoint.path} holds no vocoder; give the folder of BigVGAN (best_netG.pt and "
            "args.yml) with --vocoder"
        )
    vocoder, vocoder_part, settings = open_bigvgan(vocoder_path)
    text = bert_t5_text(checkpoint, options)
    checkpoints = list({id(x): x for x in (checkpoint, vae, vocoder)}.values())
    positions = min(part.config.max_positions for part in networks)
    return Plan(
        family=opened.family,
        name=name,
        version="1",
        sampling=system.sampling(positions - make_an_audio_2.TOKENS_BEFORE),
        parts=[codec, vocoder_part, *networks],
        text=text,
        checkpoints=checkpoints,
        sources=[*(x.path for x in checkpoints), settings],
        facts={"layout": opened.form, "copy": options.which or networks[0].name},
    )


def _codec(checkpoint: Checkpoint, options: Options) -> tuple[Checkpoint, PartPlan]:
    scale = read_scale(
        checkpoint.path,
        checkpoint.get("scale_factor", checkpoint.beside.get("scale_factor")),
        "it is found in training and nowhere else: take the published checkpoint",
    )
    source = checkpoint if options.vae is None else open_checkpoint(options.vae)
    published = source.under(FIRST_STAGE)
    if not published and options.vae is not None:
        published = dict(source)
    if not published:
        raise BundleError(f"{checkpoint.path} holds no autoencoder; give its file with --vae")
    return source, autoencoder1d_part(published, scale)
