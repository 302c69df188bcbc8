"""A broker with authentication and authorization (SASL, TLS, ACLs), and an open listener for the test itself."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.support import cluster
from tests.support.addresses import answers_within, free_ports
from tests.support.certificates import Authority, Pair
from tests.support.java_broker import JavaBroker
from tests.support.until import until

SECONDS = 30.0
UNSECURED = "org.apache.kafka.common.security.oauthbearer.internals.unsecured"
"""The package of the broker's callback handler that accepts unsigned tokens."""

PLAINTEXT = "PLAINTEXT://127.0.0.1:{port}"


Row = tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]


class Right(NamedTuple):
    """One entry of an access control list: an allowed operation on a resource."""

    operation: AclOperation
    kind: ResourceType
    name: str


class GuardedBroker:
    """A broker with four listeners: an open one for the test itself, SASL, SASL over TLS, and mutual TLS.

    Both SASL listeners accept SCRAM. The one without TLS also accepts OAUTHBEARER, with unsigned JSON web tokens.

    `User:ANONYMOUS`, the principal of the open listener, is the only super user; all others need a permission for each
    operation.
    """

    def __init__(self, folder: Path, sasl_port: int, sasl_tls_port: int, tls_port: int) -> None:
        self.authority = Authority(folder)
        self.certificate = self.authority.issue("server")
        self.sasl = f"127.0.0.1:{sasl_port}"
        self.sasl_tls = f"127.0.0.1:{sasl_tls_port}"
        self.tls = f"127.0.0.1:{tls_port}"
        self.broker = JavaBroker(self._properties(folder))

    def _properties(self, folder: Path) -> dict[str, str]:
        keystore = folder / "server-keystore.pem"
        keystore.write_bytes(self.certificate.key.read_bytes() + self.certificate.certificate.read_bytes())
        doors = {"SASL_PLAINTEXT": self.sasl, "SASL_SSL": self.sasl_tls, "SSL": self.tls}
        guarded = ",".join(f"{name}://{address}" for name, address in doors.items())
        return {
            "listeners": f"{PLAINTEXT},CONTROLLER://127.0.0.1:{{controller_port}},{guarded}",
            "advertised.listeners": f"{PLAINTEXT},{guarded}",
            "listener.security.protocol.map": ",".join(
                f"{name}:{name if name in doors else 'PLAINTEXT'}" for name in ("PLAINTEXT", "CONTROLLER", *doors)
            ),
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            **{
                f"listener.name.{door}.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                )
                for door in ("sasl_plaintext", "sasl_ssl")
            },
            **{
                f"listener.name.sasl_plaintext.oauthbearer.{key}": value
                for key, value in {
                    "sasl.jaas.config": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
                    "sasl.server.callback.handler.class": f"{UNSECURED}.OAuthBearerUnsecuredValidatorCallbackHandler",
                    # A connection ends with its token unless it authenticates again, and after this time at the latest.
                    "connections.max.reauth.ms": "60000",
                }.items()
            },
            # No test waits until such a session expires, and a slow token or login must not let one expire.
            "group.consumer.session.timeout.ms": "30000",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.certificate),
            "listener.name.ssl.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    @property
    def admin(self) -> AdminClient:
        """An admin client that is connected to the open listener."""
        return cluster.admin_of(self.broker.bootstrap_servers)

    def add_user(self, name: str, password: str) -> None:
        """Adds a SCRAM user without permissions, or changes its password. Returns once the user can log in."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(name, info, password.encode())
        admin = self.admin
        admin.alter_user_scram_credentials([upsertion])[name].result(SECONDS)
        login = scram(name, password)
        until(lambda: answers_within(self.sasl, 5, login), f"the broker, which learns it last, admits {name}")

    def grant(self, principal: str, *rights: Right) -> None:
        """Grants permissions, and returns when the broker knows them."""
        admin = self.admin
        for given in admin.create_acls([AclBinding(*_row(principal, right)) for right in rights]).values():
            given.result(SECONDS)
        until(lambda: all(self._has(principal, right) for right in rights), f"the broker knows what {principal} may do")

    def take_away(self, principal: str, *rights: Right) -> None:
        """Revokes permissions, and returns when the broker enforces this from the next request on."""
        admin = self.admin
        filters = [AclBindingFilter(*_row(principal, right)) for right in rights]
        for taken in admin.delete_acls(filters).values():
            taken.result(SECONDS)
        until(lambda: not any(self._has(principal, right) for right in rights), "the broker knows no such permission")

    def _has(self, principal: str, right: Right) -> bool:
        """Return whether the broker knows this permission. The controller confirms a change before the broker knows."""
        return bool(self.admin.describe_acls(AclBindingFilter(*_row(principal, right))).result(SECONDS))


def scram(user: str, password: str) -> Mapping[str, str]:
    """Return the client configuration for SCRAM; over TLS, `security.protocol` must be different."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }


BEARER: Mapping[str, str] = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}
"""The client configuration for tokens."""


def unsigned_token(principal: str, seconds: float) -> str:
    """Return an unsigned JSON web token that expires in `seconds` (RFC 7519, section 6)."""
    now = time.time()
    parts = {"alg": "none"}, {"sub": principal, "iat": now - 1, "exp": now + seconds}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


def mutual_tls(authority: Authority, pair: Pair) -> Mapping[str, str]:
    """Return the client configuration for authentication by certificate."""
    return {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.certificate),
        "ssl.certificate.location": str(pair.certificate),
        "ssl.key.location": str(pair.key),
    }


def _row(principal: str, right: Right) -> Row:
    pattern = ResourcePatternType.LITERAL
    return right.kind, right.name, pattern, f"User:{principal}", "*", right.operation, AclPermissionType.ALLOW


@contextmanager
def guarded_broker(folder: Path) -> Iterator[GuardedBroker]:
    """Yield a broker that runs inside the `with` block."""
    guarded = GuardedBroker(folder, *free_ports(3))
    with guarded.broker:
        yield guarded
