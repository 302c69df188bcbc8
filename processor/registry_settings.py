"""`RegistrySettings`: where the schema registry is, how to be let in, and how schemas are named in it."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import msgspec

from processor.errors import SettingsError

SubjectNameStrategy = Literal["topic", "record", "topic-record"]

MASK = "***"


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """A Confluent-compatible schema registry, as its clients see it.

    A password or a token stands in a file, which is read anew whenever the registry is asked; a password may also stand
    in the URL. It is not in the text of this object.

    Raises:
        SettingsError: a value cannot be used, or two contradict each other.
    """

    url: str
    """http or https, perhaps with USER:PASSWORD@ in it; several with commas, tried in turn."""
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    """A bearer token's, instead of a user and a password."""
    ca: str | None = None
    """PEM file of the authorities that may have signed the registry's certificate."""
    certificate: str | None = None
    """PEM file of the certificate that this client shows."""
    key: str | None = None
    """PEM file of its private key, where the certificate's file does not hold it."""
    subject_name_strategy: SubjectNameStrategy = "topic"
    auto_register: bool = True
    """Whether what is written with is registered where it is not known yet."""
    use_latest_version: bool = False
    """Write with the latest schema of the subject, whatever is shipped; nothing is registered then."""

    def __post_init__(self) -> None:
        addresses = self._addresses
        if not addresses:
            raise SettingsError("--schema-registry must not be empty")
        in_urls = [address for address in addresses if "@" in address.netloc]
        if len({_userinfo(address) for address in in_urls}) > 1:
            raise SettingsError("--schema-registry holds several users: it can be only one for all its addresses")
        users = [self.user, in_urls or None, self.token_file]
        if len([user for user in users if user is not None]) > 1:
            raise SettingsError(
                "a user in --schema-registry, --schema-registry-user and --schema-registry-token-file: give one of them"
            )
        if (self.user is None) != (self.password_file is None):
            missing = "user" if self.user is None else "password-file"
            raise SettingsError(f"--schema-registry-{missing} is missing: a user and a password belong together")
        if self.key is not None and self.certificate is None:
            raise SettingsError("--schema-registry-key needs a --schema-registry-certificate")

    @property
    def address(self) -> str:
        """The URL, without what lets one in."""
        return ",".join(map(_without_user, self._addresses))

    @property
    def user_in_url(self) -> tuple[str, str] | None:
        """User and password, where they stand in the URL."""
        return next((_userinfo(address) for address in self._addresses if "@" in address.netloc), None)

    def subject(self, topic: str, schema: str | None) -> str:
        """What the values of `topic` with the schema of that full name are registered under.

        Raises:
            SettingsError: the strategy goes by the schema's name, and it has none.
        """
        if self.subject_name_strategy == "topic":
            return f"{topic}-value"
        if schema is None:
            raise SettingsError(f"--subject-name-strategy {self.subject_name_strategy} needs a schema with a name")
        return schema if self.subject_name_strategy == "record" else f"{topic}-{schema}"

    @property
    def _addresses(self) -> list[SplitResult]:
        return [_split(text.strip(), self.url) for text in self.url.split(",") if text.strip()]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What is shown of it: no password."""
        return [("address", self.address)]

    def __repr__(self) -> str:
        return f"RegistrySettings(address={self.address!r})"


def masked(urls: str) -> str:
    """URLs as they may be shown; also what cannot be read as URLs. All up to the last @ may be a password."""
    return re.sub(r"^(\w+://)?.*@", rf"\1{MASK}@", urls)


def _split(text: str, urls: str) -> SplitResult:
    with contextlib.suppress(ValueError):
        address = urlsplit(text)
        has_host = address.hostname and (address.port or True)  # a port that is no number raises
        if address.scheme in ("http", "https") and has_host and not address.query and not address.fragment:
            return address
    raise SettingsError(
        f"--schema-registry {masked(urls)!r} is no address of a registry: http://HOST:PORT or https://HOST/PATH"
    )


def _userinfo(address: SplitResult) -> tuple[str, str]:
    return unquote(address.username or ""), unquote(address.password or "")


def _without_user(address: SplitResult) -> str:
    netloc = address.netloc.rpartition("@")[2]
    return urlunsplit((address.scheme, netloc, address.path.rstrip("/"), "", ""))
