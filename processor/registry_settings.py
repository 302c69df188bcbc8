"""`RegistrySettings`: the schema registry's address, credentials, and how subjects are named in it."""

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
    """Connection to a Confluent-compatible schema registry.

    A password or a token is in a file, which is read again for each request. A password may also be part of the URL.
    Neither appears in the repr of this object.

    Raises:
        SettingsError: a value is invalid, or two contradict each other.
    """

    url: str
    """http or https URL, optionally with USER:PASSWORD@; several are separated by commas and tried in turn."""
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    """File with a bearer token, instead of a user and a password."""
    ca: str | None = None
    """PEM file of the certificate authorities to trust; None for those of the certifi package."""
    certificate: str | None = None
    """PEM file of the client certificate."""
    key: str | None = None
    """PEM file of its private key; None if the certificate's file contains it."""
    subject_name_strategy: SubjectNameStrategy = "topic"
    auto_register: bool = True
    """Register the schemas of written values if the subject does not have them."""
    use_latest_version: bool = False
    """Write with the subject's latest schema instead of the shipped one, and register nothing."""

    def __post_init__(self) -> None:
        addresses = self._addresses
        if not addresses:
            raise SettingsError("--schema-registry must not be empty")
        in_urls = [address for address in addresses if "@" in address.netloc]
        if len({_userinfo(address) for address in in_urls}) > 1:
            raise SettingsError("--schema-registry contains several users: all its addresses must have the same one")
        users = [self.user, in_urls or None, self.token_file]
        if len([user for user in users if user is not None]) > 1:
            raise SettingsError(
                "give only one of: a user in --schema-registry, --schema-registry-user, --schema-registry-token-file"
            )
        if (self.user is None) != (self.password_file is None):
            missing = "user" if self.user is None else "password-file"
            raise SettingsError(f"--schema-registry-{missing} is missing: a user needs a password, and vice versa")
        if self.key is not None and self.certificate is None:
            raise SettingsError("--schema-registry-key requires --schema-registry-certificate")

    @property
    def address(self) -> str:
        """The URL without credentials."""
        return ",".join(map(_without_user, self._addresses))

    @property
    def user_in_url(self) -> tuple[str, str] | None:
        """User and password, if the URL contains them."""
        return next((_userinfo(address) for address in self._addresses if "@" in address.netloc), None)

    def subject(self, topic: str, schema: str | None) -> str:
        """The subject for values of `topic` whose schema has the full name `schema`.

        Raises:
            SettingsError: the strategy uses the schema's name, and it has none.
        """
        if self.subject_name_strategy == "topic":
            return f"{topic}-value"
        if schema is None:
            raise SettingsError(f"--subject-name-strategy {self.subject_name_strategy} requires a schema with a name")
        return schema if self.subject_name_strategy == "record" else f"{topic}-{schema}"

    @property
    def _addresses(self) -> list[SplitResult]:
        return [_split(text.strip(), self.url) for text in self.url.split(",") if text.strip()]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields to display: without a password."""
        return [("address", self.address)]

    def __repr__(self) -> str:
        return f"RegistrySettings(address={self.address!r})"


def masked(urls: str) -> str:
    """URLs with credentials masked. The text may be an invalid URL: everything up to the last @ may be a password."""
    return re.sub(r"^(\w+://)?.*@", rf"\1{MASK}@", urls)


def _split(text: str, urls: str) -> SplitResult:
    with contextlib.suppress(ValueError):
        address = urlsplit(text)
        has_host = address.hostname and (address.port or True)  # an invalid port raises
        if address.scheme in ("http", "https") and has_host and not address.query and not address.fragment:
            return address
    raise SettingsError(
        f"--schema-registry {masked(urls)!r} is not a valid address: give http://HOST:PORT or https://HOST/PATH"
    )


def _userinfo(address: SplitResult) -> tuple[str, str]:
    return unquote(address.username or ""), unquote(address.password or "")


def _without_user(address: SplitResult) -> str:
    netloc = address.netloc.rpartition("@")[2]
    return urlunsplit((address.scheme, netloc, address.path.rstrip("/"), "", ""))
