"""Logs as one JSON object a line."""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """Writes a record's message and its extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line."""
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            extra["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(fields | extra, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the server's own log lines, and uvicorn's warnings, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, least in (("soundleap", level), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
