"""Errors as clients see them: a status, a code and one clear line, the same shape everywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from soundleap.errors import InputError, unknown_name

ErrorType = Literal[
    "invalid_request",
    "authentication",
    "not_found",
    "rate_limit",
    "unavailable",
    "timeout",
    "server_error",
]
"""What a client can do about an error; `ApiError.code` says more exactly what happened."""

_TYPES: dict[int, ErrorType] = {
    401: "authentication",
    403: "authentication",
    404: "not_found",
    408: "timeout",
    410: "not_found",
    429: "rate_limit",
    503: "unavailable",
    504: "timeout",
}
_SHOWN_CHARACTERS = 100
_ALLOWED = re.compile(r"(?:allowed|known|needed|it has): ([^;)]+)")


@dataclass(frozen=True)
class FieldFault:
    """What is wrong with one field of a request.

    Attributes:
        field: as the client spelt it.
        message: in one line.
        value: what was given; None if it is long or no plain value.
        allowed: what would be right, where that is known.
    """

    field: str
    message: str
    value: str | float | bool | None = None
    allowed: str | None = None


@dataclass
class ApiError(Exception):
    """An answer that is no success."""

    status: int
    code: str
    message: str
    fields: Sequence[FieldFault] = field(default_factory=list[FieldFault])
    retry_after: float | None = None

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """Give the inner object of the answer's JSON."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request")
        return {
            "message": self.message,
            "type": kind,
            "code": self.code,
            "param": self.fields[0].field if self.fields else None,
            "fields": [asdict(fault) for fault in self.fields],
            "request_id": request_id,
        }

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def field_error(
    name: str, message: str, value: object = None, allowed: str | None = None
) -> ApiError:
    """Make the 422 for one field."""
    fault = FieldFault(name, message, plain(value), allowed)
    return ApiError(422, "invalid_value", message, [fault])


def from_input(
    error: InputError, body: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> ApiError:
    """Make the 422 for a value that the library refuses.

    Args:
        error: its message names the field first.
        body: what the client sent.
        names: the client's spelling of our names, where it differs.
    """
    spelt = dict(names or {})
    message = str(error)
    known = {*body, *spelt, *_OURS} - {"model"}  # messages speak of models when others are at fault
    names_in_it = re.search(rf"\b({'|'.join(map(re.escape, known))})\b", message)
    name = names_in_it.group(1) if names_in_it else None
    if name is None and re.search(r"has no (student|teacher)\b", message):
        name = "network"
    for ours, theirs in spelt.items():
        message = re.sub(rf"\b{ours}\b", lambda _, theirs=theirs: theirs, message)
    if name is None:
        return ApiError(422, "invalid_value", message)
    theirs = spelt.get(name, name)
    allowed = _ALLOWED.search(message)
    value = plain(body.get(theirs))
    fault = FieldFault(theirs, message, value, allowed.group(1).strip() if allowed else None)
    return ApiError(422, "invalid_value", message, [fault])


_OURS = (
    "prompt", "negative_prompt", "duration_in_s", "num_inference_steps", "guidance_scale", "seed",
    "network", "struct_prompt", "guidance_scale_post", "solver", "compat", "count",
)  # fmt: skip


def from_validation(errors: Sequence[Mapping[str, Any]], known: Sequence[str]) -> ApiError:
    """Make the 422 for a body that does not fit its schema, all faults at once.

    Args:
        errors: as pydantic lists them, with places that begin with "body", "query" or "path".
        known: names of the body's fields.
    """
    if errors and errors[0]["type"] == "json_invalid":
        detail = errors[0].get("ctx", {}).get("error", "")
        return ApiError(400, "invalid_json", f"the body is not valid JSON: {detail}".rstrip(": "))
    faults = [_fault(error, known) for error in errors]
    message = "; ".join(dict.fromkeys(fault.message for fault in faults))
    return ApiError(422, "invalid_value", message, [fault for fault in faults if fault.field])


def _fault(error: Mapping[str, Any], known: Sequence[str]) -> FieldFault:
    name = ".".join(map(str, error["loc"][1:]))
    value, kind, context = error.get("input"), str(error["type"]), error.get("ctx", {})
    if not name:
        text = "the body is missing" if value is None else "the body is no JSON object"
        return FieldFault("", f"{text}; give an object with a prompt")
    if kind == "extra_forbidden":
        return FieldFault(name, str(unknown_name("field", name, known)), plain(value))
    if kind == "missing":
        return FieldFault(name, f"{name} is missing")
    if kind == "literal_error":
        allowed = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        return FieldFault(
            name, f"{name} is {shown(value)}; allowed: {allowed}", plain(value), allowed
        )
    if kind in _BOUNDS:
        limit, words = _BOUNDS[kind]
        allowed = f"{words} {context[limit]:g}"
        return FieldFault(
            name, f"{name} is {shown(value)}; allowed: {allowed}", plain(value), allowed
        )
    if kind in ("string_too_long", "string_too_short"):
        limit = "max_length" if kind == "string_too_long" else "min_length"
        words = "at most" if kind == "string_too_long" else "at least"
        allowed = f"{words} {context[limit]} characters"
        return FieldFault(name, f"{name} has {len(str(value))} characters; allowed: {allowed}",
                          plain(value), allowed)  # fmt: skip
    return FieldFault(name, f"{name} is {shown(value)}; give {_NEEDED.get(kind, 'another value')}",
                      plain(value))  # fmt: skip


_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_NEEDED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_unicode": "valid Unicode, as UTF-8",
    "list_type": "a list",
    "string_pattern_mismatch": "another text",
}


def plain(value: object) -> str | float | bool | None:
    """Give a value as it may be shown in JSON; None if it is long or no plain value."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**64 else None
    if isinstance(value, str) and len(value) <= _SHOWN_CHARACTERS:
        return value
    return None


def shown(value: object) -> str:
    """Give a value as it is shown in a message, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "too large"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
