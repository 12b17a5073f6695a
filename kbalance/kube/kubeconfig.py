"""Which cluster, as whom and in which namespace: kubectl's rules for kubeconfig files, and a Pod's service account.

The library reads credentials and certificates; files are merged here, as the library lets the last ``current-context`` win,
resolves a user's files beside the cluster's, and has whole entries, passwords included, in its messages.

Source: kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig (rules of merging);
kubernetes/client-go `tools/clientcmd` (loader.go, client_config.go).
"""

import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from kbalance.errors import DiscoveryError, NoAccess
from kbalance.kube.credentials import Credentials, Plugin, impersonation, one_line_token

if TYPE_CHECKING:
    import ssl

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a Pod's token, namespace and certificate authority."""
DEFAULT_FILE = "~/.kube/config"

_FILES = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile"), "context": ()}
"""Fields with a path, which is relative to the file that it stands in."""
_WORDS = ("token", "username", "password", "as", "as-uid")
"""Fields of a user that are text, even where YAML takes them for numbers."""
CONNECTIONS = 256
"""That are kept to one API server: a watch of each Service that a client talks to has one for itself."""
_LOADING = threading.Lock()
"""The library remembers temporary files by their content, for all threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the user chose; ``None`` leaves it to the kubeconfig or to the Pod."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How the API is reached, and as whom."""

    server: str
    """The URL without credentials."""
    context: str | None
    """``None`` in a Pod without kubeconfig."""
    namespace: str
    credentials: Credentials
    tls: "ssl.SSLContext | None"
    """``None``: plain HTTP."""
    configuration: Any = field(repr=False)
    """The library's: address and proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A named entry of a kubeconfig; its paths are absolute, and empty fields are left out."""

    name: str
    value: dict[str, Any] = field(repr=False)
    file: str


@dataclass(slots=True, kw_only=True)
class _Merged:
    """Several files as one: whichever comes first, wins."""

    current: str = ""
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {"context": {}, "cluster": {}, "user": {}})

    def add(self, path: Path) -> None:
        config = _read(path)
        self.current = self.current or str(config.get("current-context") or "")
        for kind, known in self.entries.items():
            for item in config.get(f"{kind}s") or ():
                entry = _entry(kind, item, path)
                known.setdefault(entry.name, entry)


def load(access: Access, *, service_account: Path = SERVICE_ACCOUNT) -> Loaded:
    """What the options, ``$KUBECONFIG``, ``~/.kube/config`` or, without any of them, the Pod's service account say.

    Raises:
        DiscoveryError: there is none of them, or what they say makes no sense.
    """
    files = _files(access.kubeconfig)
    if files:
        return _from_files(access, files)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").is_file():
        return _from_pod(access, service_account)
    raise NoAccess(
        f"There is no kubeconfig: neither --kubeconfig nor $KUBECONFIG nor {DEFAULT_FILE}, and this is not a Pod with a service"
        " account; give --kubeconfig FILE, or try `kbalance demo`, which needs no cluster."
    )


def contexts(kubeconfig: str | None) -> list[str]:
    """Names of the contexts, the current one first.

    Raises:
        DiscoveryError: a file cannot be read.
    """
    merged = _merged(_files(kubeconfig))
    return sorted(merged.entries["context"], key=lambda name: name != merged.current)


def _files(chosen: str | None) -> list[Path]:
    listed = [chosen] if chosen else [one for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    found = [Path(path) for one in listed or [DEFAULT_FILE] if os.path.exists(path := os.path.expanduser(one))]
    if chosen and not found:
        raise DiscoveryError(f"The kubeconfig {chosen} does not exist; give a file that does with --kubeconfig.")
    if listed and not found:
        raise DiscoveryError(
            f"The variable KUBECONFIG names {', '.join(listed)}, which does not exist; correct it, or give --kubeconfig FILE."
        )
    return found


def _merged(files: Sequence[Path]) -> _Merged:
    merged = _Merged()
    for path in files:
        merged.add(path)
    return merged


def _read(path: Path) -> dict[str, Any]:
    import yaml

    # From a file rather than from text: the parser's errors then do not quote it.
    try:
        with path.open("rb") as file:
            value = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DiscoveryError(f"The kubeconfig {path} cannot be read ({why}); give another with --kubeconfig.") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise DiscoveryError(
            f"The kubeconfig {path} is not YAML{line}; correct it, or give another with --kubeconfig."
        ) from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(value.get(f"{kind}s") or [], list) for kind in _FILES):
        raise DiscoveryError(f"The file {path} is not a kubeconfig; give one with --kubeconfig.")
    return value


def _entry(kind: str, item: object, path: Path) -> Entry:
    if not isinstance(item, dict) or "name" not in item or not isinstance(item.get(kind) or {}, dict):
        raise DiscoveryError(f"The kubeconfig {path} has an entry in {kind}s without a name or a {kind}; remove or correct it.")
    value = {key: one for key, one in (item.get(kind) or {}).items() if one not in (None, "", [], {})}
    value |= {key: str(value[key]) for key in _WORDS if key in value}
    value |= {key: os.path.join(path.absolute().parent, str(value[key])) for key in _FILES[kind] if key in value}
    return Entry(name=str(item["name"]), value=value, file=str(path))


def _from_files(access: Access, files: Sequence[Path]) -> Loaded:
    merged = _merged(files)
    context = _chosen(merged, access.context, files)
    cluster = _named(merged, "cluster", context)
    user = _named(merged, "user", context) if "user" in context.value else Entry(name="", value={}, file=context.file)
    server = _server(cluster)
    plugin = _plugin(user, cluster)
    given = plugin.run() if plugin else None
    user_value = _without_files(user) | (given.as_user() if given else {})
    with _LOADING:
        configuration, tls = _loaded(cluster, user, user_value)
    credentials = Credentials(
        owner=f"user {user.name}" if user.name else "nobody",
        authorization=_authorization(configuration),
        certified=bool(tls and "client-certificate" in "".join(user_value)),
        extra=impersonation(f"User {user.name}", user.value),
        plugin=plugin,
        expires_s=given.expires_s if given else None,
        hidden=[user_value[key] for key in ("token", "password") if key in user_value],
    )
    return Loaded(
        server=server,
        context=context.name,
        namespace=access.namespace or str(context.value.get("namespace") or "default"),
        credentials=credentials,
        tls=tls,
        configuration=configuration,
    )


def _chosen(merged: _Merged, wanted: str | None, files: Sequence[Path]) -> Entry:
    known = merged.entries["context"]
    where = ", ".join(map(str, files))
    there_are = f"there are {', '.join(sorted(known))}" if known else "it has none at all"
    name = wanted or merged.current
    if not name:
        raise DiscoveryError(f"The kubeconfig {where} has no current context; choose one with --context ({there_are}).")
    if name not in known:
        raise DiscoveryError(f"The kubeconfig {where} has no context {name}; choose another with --context ({there_are}).")
    return known[name]


def _named(merged: _Merged, kind: str, context: Entry) -> Entry:
    name = str(context.value.get(kind) or "")
    if name not in merged.entries[kind]:
        named = f"names the {kind} {name}, which is not in it" if name else f"names no {kind}"
        raise DiscoveryError(
            f"Context {context.name} in the kubeconfig {context.file} {named}; correct it, or choose another context."
        )
    return merged.entries[kind][name]


def _server(cluster: Entry) -> str:
    """The address without credentials."""
    url = str(cluster.value.get("server") or "")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise DiscoveryError(
            f"Cluster {cluster.name} in {cluster.file} has no server with an http or https URL; correct it there."
        )
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _plugin(user: Entry, cluster: Entry) -> Plugin | None:
    from kubernetes.config import kube_config

    library: Any = kube_config
    if "exec" not in user.value or {"token", "tokenFile", "auth-provider"} & user.value.keys():
        return None
    return Plugin(
        user.name, user.value["exec"], os.path.dirname(os.path.abspath(user.file)), library.ConfigNode("", cluster.value)
    )


def _without_files(user: Entry) -> dict[str, Any]:
    """The user with its token read: the library neither strips it nor prefers the file, which is the one that is renewed."""
    value = {key: one for key, one in user.value.items() if key not in ("exec", "tokenFile")}
    path = user.value.get("tokenFile")
    if path:
        try:
            value["token"] = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            if "token" not in value:
                why = getattr(error, "strerror", None) or "it is not text"
                raise DiscoveryError(
                    f"The tokenFile {path} of user {user.name} cannot be read ({why.lower()}); log in again."
                ) from error
    if "token" in value:
        value["token"] = one_line_token(value["token"], f"user {user.name}")
    return value


def _loaded(cluster: Entry, user: Entry, user_value: Mapping[str, Any]) -> tuple[Any, "ssl.SSLContext | None"]:
    """The library's configuration, and TLS with certificates in memory: no private key stays in a temporary file."""
    from kubernetes.client.configuration import Configuration
    from kubernetes.config import kube_config

    # It says that it is typed, and is not.
    library: Any = kube_config
    for entry, key in [(cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")]:
        path = entry.value.get(key)
        if path and f"{key}-data" not in entry.value and not os.path.isfile(path):
            raise DiscoveryError(f"The {key} of {entry.name}, {path}, does not exist; log in again, or correct {entry.file}.")
    parts = {
        "current-context": "chosen",
        "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
        "clusters": [library.ConfigNode("cluster", {"name": "chosen", "cluster": cluster.value}, cluster.file)],
        "users": [library.ConfigNode("user", {"name": "chosen", "user": dict(user_value)}, user.file)],
    }
    configuration = Configuration(retries=False, connection_pool_maxsize=CONNECTIONS)
    try:
        with tempfile.TemporaryDirectory(prefix="kbalance-") as folder:
            loader = library.KubeConfigLoader(
                library.ConfigNode("kubeconfig", parts), config_base_path=None, temp_file_path=folder
            )
            loader.load_and_set(configuration)
            tls = _tls(configuration)
    except Exception as error:
        # Its own, but also those of base64, ssl, requests, oauthlib and plain mistakes of the library.
        raise _unusable(cluster, user, error) from error
    _settle_proxy(configuration, cluster)
    provider = user_value.get("auth-provider")
    if provider and not configuration.api_key:
        raise _no_provider(user, provider)
    return configuration, tls


def _settle_proxy(configuration: Any, cluster: Entry) -> None:
    """As kubectl does: no proxy of the environment leads to this machine, and the credentials in a proxy's URL are used."""
    from urllib3.util import make_headers

    if "proxy-url" not in cluster.value and _is_loopback(urlsplit(configuration.host).hostname or ""):
        configuration.proxy = None
    parts = urlsplit(configuration.proxy or "")
    if parts.username:
        known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = make_headers(proxy_basic_auth=known)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unusable(cluster: Entry, user: Entry, error: Exception) -> DiscoveryError:
    import ssl

    if "auth-provider" in user.value and not isinstance(error, ssl.SSLError):
        return _no_provider(user, user.value["auth-provider"])
    kind = "certificates or keys" if isinstance(error, (ssl.SSLError, ValueError)) else "fields"
    return DiscoveryError(
        f"The {kind} of user {user.name} or cluster {cluster.name} in the kubeconfig {user.file} cannot be used"
        f" ({type(error).__name__}); log in again, or correct them with kubectl config."
    )


def _no_provider(user: Entry, provider: object) -> DiscoveryError:
    name = provider.get("name", "?") if isinstance(provider, dict) else "?"
    return DiscoveryError(
        f"The auth-provider {name} of user {user.name} in the kubeconfig {user.file} gives no credentials;"
        " log in again with a tool that writes an exec plugin, which replaced auth providers."
    )


def _tls(configuration: Any) -> "ssl.SSLContext | None":
    if not configuration.host.startswith("https"):
        return None
    import ssl

    # Not create_default_context, whose strictness from Python 3.13 on refuses the authorities of many clusters.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif configuration.ssl_ca_cert:
        context.load_verify_locations(configuration.ssl_ca_cert)
    else:
        context.load_default_certs()
    if configuration.cert_file:
        # An empty password makes an encrypted key an error; without one, OpenSSL would ask at the terminal.
        context.load_cert_chain(configuration.cert_file, configuration.key_file, password="")
    configuration.ssl_ca_cert = configuration.cert_file = configuration.key_file = None
    return context


def _authorization(configuration: Any) -> str | None:
    return configuration.api_key.get("BearerToken") or None


def _from_pod(access: Access, folder: Path) -> Loaded:
    from kubernetes.client.configuration import Configuration
    from kubernetes.config import ConfigException, incluster_config

    library: Any = incluster_config
    if access.context:
        raise DiscoveryError(f"There is no kubeconfig here that could have a context {access.context}; leave --context out.")
    configuration = Configuration(retries=False, connection_pool_maxsize=CONNECTIONS)
    try:
        library.InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"), try_refresh_token=False).load_and_set(
            configuration
        )
        server = configuration.host
        tls = _tls(configuration)
    except (ConfigException, OSError, ValueError) as error:
        raise DiscoveryError(
            f"The Pod's service account in {folder} cannot be used ({type(error).__name__}); give its Pod a service account"
            " token (automountServiceAccountToken), or give --kubeconfig FILE."
        ) from error
    scheme, _, token = str(_authorization(configuration)).partition(" ")
    token = one_line_token(token, "the Pod's service account")
    credentials = Credentials(owner="the Pod's service account", authorization=f"{scheme} {token}", hidden=[token])
    return Loaded(
        server=server,
        context=None,
        namespace=access.namespace or _namespace_in(folder),
        credentials=credentials,
        tls=tls,
        configuration=configuration,
    )


def _namespace_in(folder: Path) -> str:
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or "default"
    except (OSError, ValueError):
        return "default"
