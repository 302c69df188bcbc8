"""The body of an envelope: a payload or a result, as bytes with a media type."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from processor.errors import DecodeError, EncodeError

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"

decode_json = msgspec.json.Decoder().decode
"""Decodes JSON, or raises an exception of msgspec's or Python's. `read_json` raises errors in the product's words."""

_encode_json = msgspec.json.Encoder().encode


def read_body(body: bytes | str | None, content_type: str) -> Any:
    """The body as a handler gets it: JSON is decoded, any other media type is returned unchanged.

    Raises:
        DecodeError: the media type is JSON and the body is not.
    """
    if body is None or not (content_type == JSON_TYPE or _is_json(content_type)):
        return body
    return read_json(body, "the payload")


def write_body(value: Any, noun: str) -> tuple[bytes, str]:
    """Bytes unchanged or any other value as JSON, and the media type of the result.

    Raises:
        EncodeError: `value` has no JSON form, or its memory was released. The message calls it `noun`.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value), BYTES_TYPE
        except ValueError as error:  # a `memoryview` that a `with` statement has released
            raise EncodeError(f"{noun} cannot be read: {error}") from error
    return write_json(value, noun), JSON_TYPE


def read_json(text: bytes | str, noun: str) -> Any:
    """Decodes JSON.

    Raises:
        DecodeError: `text` is not JSON. The message calls it `noun`.
    """
    try:
        return decode_json(text)
    except RecursionError:
        raise DecodeError(f"{noun} is nested too deeply") from None
    except Exception as error:
        raise DecodeError(f"{noun} is not JSON: {_reason(error)}") from error


def write_json(value: Any, noun: str) -> bytes:
    """Encodes JSON as msgspec does: bytes become base64 text; NaN and infinities become null.

    Raises:
        EncodeError: `value` has no JSON form. The message calls it `noun`.
    """
    try:
        return _encode_json(value)
    except RecursionError:
        raise EncodeError(f"{noun} is nested too deeply for JSON, or contains itself") from None
    except Exception as error:
        raise EncodeError(f"{noun} cannot be encoded as JSON: {error}") from error


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    """Return whether a media type is JSON: `application/json` (RFC 8259) or `+json` (RFC 6839), with any parameters."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON_TYPE or media_type.endswith("+json")


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")
