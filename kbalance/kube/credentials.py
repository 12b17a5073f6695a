"""What is sent along to say who asks: tokens, the output of exec plugins, and the name of whom to act as.

No exception and no ``repr`` here shows a credential.

Source: kubernetes.io/docs/reference/access-authn-authz/authentication (client-go credential plugins, user impersonation);
kubernetes/client-go `transport/round_trippers.go` (names and escapes of the impersonation headers).
"""

import base64
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any
from urllib.parse import quote

from kbalance.errors import DiscoveryError

Header = tuple[str, str]

_SECRET = re.compile(
    r"""eyJ[\w.~+/=-]+ | (?<=bearer\ )\S+ | (?<=basic\ )\S+ | [A-Za-z0-9_.~+/-]{32,}=*
      | (?<=token=)\S+ | (?<=token:)\s*\S+ | (?<=password=)\S+ | (?<=password:)\s*\S+ | (?<=secret=)\S+ | (?<=secret:)\s*\S+""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may be a credential in a line that somebody else wrote; rather a word too many than one too few."""


def masked(text: str) -> str:
    """Its first line without what may be a credential."""
    lines = text.strip().splitlines()
    return _SECRET.sub("…", lines[0].strip())[:200] if lines else ""


def one_line_token(token: str, owner: str) -> str:
    """The token without blanks around it.

    Raises:
        DiscoveryError: it holds what no header may hold, such as a line break.
    """
    token = token.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        what = "has a line break or another character that cannot be sent" if token else "is empty"
        raise DiscoveryError(f"The token of {owner} {what}; log in again, or correct it where it is kept.")
    return token


def impersonation(owner: str, user: Mapping[str, Any]) -> list[Header]:
    """Headers for ``as``, ``as-uid``, ``as-groups`` and ``as-user-extra``, which the library ignores.

    Raises:
        DiscoveryError: groups or the like stand there without a user.
    """
    name = user.get("as")
    if not name:
        alone = sorted({"as-uid", "as-groups", "as-user-extra"} & user.keys())
        if alone:
            raise DiscoveryError(f"{owner} of the kubeconfig has {alone[0]} but not whom to act as; add `as`, or remove it.")
        return []
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not (isinstance(groups, list) and isinstance(extra, dict) and all(isinstance(one, list) for one in extra.values())):
        raise DiscoveryError(f"{owner} of the kubeconfig has as-groups or as-user-extra that are no lists; correct it there.")
    headers = [("Impersonate-User", str(name))]
    headers += [("Impersonate-Group", str(group)) for group in groups]
    headers += [("Impersonate-Uid", str(user["as-uid"]))] if "as-uid" in user else []
    for key, values in extra.items():
        # The characters that a header's name may hold but for the percent sign itself.
        escaped = quote(str(key).lower(), safe="!#$&'*+-.^_`|~")
        headers += [(f"Impersonate-Extra-{escaped}", str(value)) for value in values]
    if any(re.search(r"[\x00-\x1f\x7f]", value) for _, value in headers):
        raise DiscoveryError(f"{owner} of the kubeconfig acts as a name with a line break; correct it there.")
    # What is sent is UTF-8, as kubectl does, though headers are Latin-1 to the library.
    return [(header, value.encode().decode("latin-1")) for header, value in headers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an exec plugin gave; it is never shown."""

    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    expires_s: float | None = None
    """Since the epoch; ``None``: it did not say."""

    def as_user(self) -> dict[str, str]:
        """Fields of a kubeconfig's user with the same credentials."""
        fields = {"token": self.token} if self.token else {}
        if self.certificate and self.key:
            fields["client-certificate-data"] = base64.b64encode(self.certificate.encode()).decode()
            fields["client-key-data"] = base64.b64encode(self.key.encode()).decode()
        return fields


class Plugin:
    """A program that gives credentials."""

    def __init__(self, user: str, spec: Any, folder: str, cluster: Any) -> None:
        """
        Args:
            user: the name of its entry.
            spec: the entry's ``exec``.
            folder: of the kubeconfig, which is where it runs.
            cluster: the library's node, for plugins that want to know it.

        Raises:
            DiscoveryError: it names no command or no version.
        """
        if not isinstance(spec, dict) or not spec.get("command") or not spec.get("apiVersion"):
            raise DiscoveryError(f"The exec plugin of user {user} has no command or no apiVersion; correct the kubeconfig.")
        arguments, environment = spec.get("args") or [], spec.get("env") or []
        named = isinstance(environment, list) and all("name" in _map(one) for one in environment)
        if not (named and isinstance(arguments, list)):
            raise DiscoveryError(f"The exec plugin of user {user} has args or env of the wrong form; correct the kubeconfig.")
        self._what = f"The exec plugin {spec['command']} of user {user}"
        self._spec = {
            "command": str(spec["command"]),
            "apiVersion": str(spec["apiVersion"]),
            "args": [str(one) for one in arguments],
            "env": [{"name": str(one["name"]), "value": str(one.get("value") or "")} for one in environment],
            "provideClusterInfo": bool(spec.get("provideClusterInfo")),
        }
        self._hint = " ".join(str(spec.get("installHint") or "").split())
        self._folder = folder
        self._cluster = cluster

    def run(self) -> Given:
        """Raises:
        DiscoveryError: it is missing, fails, or gives nothing that could be used.
        """
        from kubernetes.config import ConfigException, kube_config

        library: Any = kube_config
        spec = library.ConfigNode("exec", {key: value for key, value in self._spec.items() if value})
        try:
            status = library.ExecProvider(spec, self._folder, self._cluster).run()
        except OSError as error:
            why = (error.strerror or "it does not run").lower()
            raise DiscoveryError(
                f"{self._what} cannot be run ({why}); {self._hint or 'install it, or log in another way'}."
            ) from error
        except ConfigException as error:
            # Not chained: its message quotes all that the plugin wrote, which may be its credentials.
            raise self._failed(str(error)) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._useless() from error
        return self._given(status)

    def _failed(self, said: str) -> DiscoveryError:
        before, _, last_words = said.partition(". ")
        if not before.startswith("exec: process returned"):
            return self._useless()
        code = before.rpartition(" ")[2]
        return DiscoveryError(
            f"{self._what} ended with code {code} ({masked(last_words) or 'without a word'}); log in again, or run it to see why."
        )

    def _given(self, status: object) -> Given:
        fields = status if isinstance(status, dict) else {}
        token, certificate, key = (fields.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
        if not all(isinstance(one, str | None) for one in (token, certificate, key)) or bool(certificate) != bool(key):
            raise self._useless()
        if not token and not certificate:
            raise self._useless()
        return Given(
            token=one_line_token(token, f"{self._what[:1].lower()}{self._what[1:]}") if token else None,
            certificate=certificate,
            key=key,
            expires_s=_epoch(fields.get("expirationTimestamp")),
        )

    def _useless(self) -> DiscoveryError:
        return DiscoveryError(
            f"{self._what} gave no credentials: it printed no ExecCredential of {self._spec['apiVersion']} with a token"
            " or a certificate and its key; log in again, or run it to see why."
        )


def _map(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _epoch(timestamp: object) -> float | None:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None


class Credentials:
    """The headers that say who asks; safe to use from several threads."""

    def __init__(
        self,
        *,
        owner: str,
        authorization: str | None,
        certified: bool = False,
        extra: Sequence[Header] = (),
        plugin: Plugin | None = None,
        expires_s: float | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        """
        Args:
            owner: whose they are, for messages.
            authorization: the header's value.
            certified: whether there is a client certificate, which proves the same.
            extra: headers besides.
            plugin: gives new ones.
            expires_s: since the epoch.
            hidden: what must not be shown, besides the header's value.
        """
        self.owner = owner
        self.acts_as = dict(extra).get("Impersonate-User")
        """Somebody else, whose permissions count."""
        self._authorization = authorization
        self._certified = certified
        self._extra = tuple(extra)
        self._plugin = plugin
        self._expires_s = expires_s
        self._hidden = {one for one in (*hidden, (authorization or "").rpartition(" ")[2]) if one}
        self._lock = threading.Lock()

    @property
    def anonymous(self) -> bool:
        """Whether nothing at all says who asks."""
        return not (self._authorization or self._certified)

    def headers(self) -> list[Header]:
        """Fresh ones; a plugin runs again when what it gave has expired.

        Raises:
            DiscoveryError: the plugin fails.
        """
        if self._expires_s is not None and self._expires_s <= time():
            self.renew(self._authorization)
        known = self._authorization
        return [*([("Authorization", known)] if known else []), *self._extra]

    def renew(self, refused: str | None) -> bool:
        """Whether there are others now than those that were refused, which may have been seen to by another thread.

        Raises:
            DiscoveryError: the plugin fails.
        """
        with self._lock:
            if self._plugin is None or self._authorization is None or self._authorization != refused:
                return self._authorization != refused
            given = self._plugin.run()
            if given.token is None:
                return False
            self._authorization = f"Bearer {given.token}"
            self._expires_s = given.expires_s
            self._hidden.add(given.token)
            return self._authorization != refused

    def hide(self, text: str) -> str:
        """The text without any of these credentials, should somebody have sent them back."""
        for secret in tuple(self._hidden):
            text = text.replace(secret, "…")
        return text

    def __repr__(self) -> str:
        return f"<Credentials of {self.owner}>"
