"""The body inside an envelope: a payload or a result as bytes with a media type."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from processor.errors import DecodeError, EncodeError

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"

_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


def read_body(body: bytes | str | None, content_type: str) -> Any:
    """A body as its handler gets it: JSON decoded, anything else as it is.

    Raises:
        DecodeError: the media type claims JSON and the body is none.
    """
    if body is None or not (content_type == JSON_TYPE or _is_json(content_type)):
        return body
    return read_json(body, "the payload")


def write_body(value: Any, noun: str) -> tuple[bytes, str]:
    """Bytes as they are, anything else as JSON; and the media type that says which.

    Raises:
        EncodeError: there is no JSON for `value`, which the message calls `noun`.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), BYTES_TYPE
    return write_json(value, noun), JSON_TYPE


def read_json(text: bytes | str, noun: str) -> Any:
    """Raises:
    DecodeError: `text`, which the message calls `noun`, is no JSON.
    """
    try:
        return _decode_json(text)
    except RecursionError:
        raise DecodeError(f"{noun} is JSON that is nested too deeply") from None
    except Exception as error:
        raise DecodeError(f"{noun} is not JSON: {_reason(error)}") from error


def write_json(value: Any, noun: str) -> bytes:
    """JSON as msgspec writes it: bytes inside become base64 text, NaN and the infinities null.

    Raises:
        EncodeError: there is no JSON for `value`, which the message calls `noun`.
    """
    try:
        return _encode_json(value)
    except RecursionError:
        raise EncodeError(f"{noun} is nested too deeply for JSON, or contains itself") from None
    except Exception as error:
        raise EncodeError(f"{noun} cannot be written as JSON: {error}") from error


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    """Whether a media type is JSON's: RFC 8259's own, or one with the suffix of RFC 6839; parameters do not matter."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON_TYPE or media_type.endswith("+json")


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")
