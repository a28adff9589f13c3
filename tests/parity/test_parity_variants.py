"""The command on items of other sizes, counts and settings than those it was written with."""

from pathlib import Path

import parity_codecs
import parity_schedules
import parity_transformers
import parity_unets
import parity_unets_sampling
import pytest

from soundleap.parity.run import check_item


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    distillation = parity_transformers.distillation()
    references = [
        parity_schedules.heun_schedule(),
        parity_schedules.solver(),
        parity_schedules.nat_mel(),
        parity_schedules.audioldm_mel(),
        parity_transformers.transformer(),
        distillation,
        parity_transformers.sampler(distillation.weights),
        parity_transformers.teacher(),
        parity_unets.guided_unet(),
        parity_unets.consistency(),
        parity_unets_sampling.guided_distillation(),
        parity_unets_sampling.inference(),
        parity_unets_sampling.tango(),
        parity_codecs.autoencoder(),
        parity_codecs.bigvgan(),
        parity_codecs.vae_and_hifigan(),
    ]
    for reference in references:
        reference.write(folder)
    return folder


@pytest.mark.parametrize(
    "item",
    [
        "audiolcm_autoencoder1d",
        "audiolcm_bigvgan",
        "audiolcm_concatdit2mlp",
        "audiolcm_distill",
        "audiolcm_lcm_sampler",
        "audiolcm_mel_frontend",
        "audiolcm_solver",
        "audioldm_mel_frontend",
        "audioldm_vae_hifigan",
        "ctta_distill_stage1",
        "ctta_distill_stage2",
        "ctta_guided_unet",
        "ctta_heun_schedule",
        "ctta_inference",
        "maa2_teacher",
        "tango_unet_sampling",
    ],
)
def test_variants_of_every_item_agree(folder: Path, item: str):
    rows = list(check_item(folder / f"{item}_z"))
    assert len(rows) > 1
    assert [row.line() for row in rows if not row.passed] == []
