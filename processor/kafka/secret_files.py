"""Reads secrets of the Kafka client from files: `-X sasl.password.file=/run/secrets/kafka`.

They are thus neither on a command line, which every user of the machine can read, nor in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from processor.errors import LoadError, SettingsError

SUFFIX: Final = ".file"

SECRETS: Final = (
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
)
"""The client's secret settings that have no variant for a file."""


def with_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the contents of its secret files. A line break at the end of a file is removed.

    Raises:
        SettingsError: a secret is set twice, directly and as a file.
        LoadError: a file cannot be read, or is empty.
    """
    read = dict(config)
    for secret in SECRETS:
        key = secret + SUFFIX
        if key in read:
            path = str(read.pop(key))
            if secret in read:
                raise SettingsError(f"-X {secret} and -X {key} are the same setting: set only one of them")
            read[secret] = secret_in(path, f"-X {key}")
    return read


def secret_in(path: str, option: str) -> str:
    """The contents of a file, without a line break at its end.

    Raises:
        LoadError: it cannot be read, or is empty. The message begins with `option`.
    """
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise LoadError(f"{option}: {path!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LoadError(f"{option}: {path!r} is not text in UTF-8") from None
    if not text:
        raise LoadError(f"{option}: {path!r} is empty")
    return text
