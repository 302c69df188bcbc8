"""The Kafka client's secrets from files, where they are mounted: `-X sasl.password.file=/run/secrets/kafka`.

So they stand neither on a command line, which every user of the machine can read, nor in the environment.
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
"""The client's settings that are secret and take text; all others that take a file have a setting for that."""


def with_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what the files hold that it names; a file's last line break is no part of a secret.

    Raises:
        SettingsError: a secret is given twice, as it is and as a file.
        LoadError: a file cannot be read, or is empty.
    """
    read = dict(config)
    for secret in SECRETS:
        key = secret + SUFFIX
        if key in read:
            path = str(read.pop(key))
            if secret in read:
                raise SettingsError(f"-X {secret} and -X {key} are the same setting: give one of them")
            read[secret] = secret_in(path, f"-X {key}")
    return read


def secret_in(path: str, option: str) -> str:
    """What a file holds, without its last line break.

    Raises:
        LoadError: it cannot be read, or is empty; with `option`, which names it.
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
