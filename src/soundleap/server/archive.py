"""Several takes of a job as one zip."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence

from soundleap.audio.names import file_name
from soundleap.server.errors import ApiError, field_error
from soundleap.server.formats import AudioFormat, encode
from soundleap.server.jobs import Job, Take
from soundleap.server.schemas import FileFormat


def chosen_takes(job: Job, numbers: str | None) -> list[Take]:
    """Find the takes that are asked for.

    Args:
        job: whose takes.
        numbers: with commas, like "1,3"; None for all that are done.

    Raises:
        ApiError: if there is none, or the numbers are not valid.
    """
    if numbers is None:
        found = [take for take in job.takes if take.made is not None]
        if not found:
            raise ApiError(409, "not_ready", f"no take is done; the job is {job.status}")
        return found
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", numbers):
        message = "takes is not valid; give numbers with commas, like 1,3"
        raise field_error("takes", message, numbers)
    return [job.take(number) for number in dict.fromkeys(map(int, numbers.split(",")))]


def archive(takes: Sequence[Take], format: FileFormat) -> bytes:
    """Give a zip of finished takes, which is the same each time.

    Raises:
        AudioFileError: if the format can't hold the sampling rate.
    """
    buffer = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if format == "wav" else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", packing) as file:
        for take in takes:
            assert take.made is not None
            sample = take.work.sample
            name = file_name(take.number, sample.prompt, take.seed, format)
            entry = zipfile.ZipInfo(name)  # the zip's own first day: no clock in it
            entry.compress_type = packing
            file.writestr(entry, encode(take.made, AudioFormat(format)).data)
    return buffer.getvalue()
