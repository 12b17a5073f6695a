"""Authorities and certificates for TLS on loopback, made once."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme


class Certificates:
    """One authority that clients trust, one that they do not, and servers of several kinds."""

    def __init__(self, place: Path) -> None:
        self._ours = trustme.CA()
        self._other = trustme.CA()
        self.cacert = str(place / "ca.pem")
        self._ours.cert_pem.write_to_path(self.cacert)
        client = self._ours.issue_cert("client@example.org")
        self.client_cert = str(place / "client.pem")
        self.client_key = str(place / "client.key")
        client.cert_chain_pems[0].write_to_path(self.client_cert)
        client.private_key_pem.write_to_path(self.client_key)

    def server(self, name: str = "web.test", *, trusted: bool = True, expired: bool = False) -> ssl.SSLContext:
        """A server's side; it offers h2 and http/1.1."""
        authority = self._ours if trusted else self._other
        until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, "127.0.0.1", not_after=until).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def server_files(self, name: str, place: Path) -> tuple[Path, Path]:
        """A server's certificate and its key, for servers that are no Python."""
        made = self._ours.issue_cert(name)
        cert, key = place / "server.pem", place / "server.key"
        made.cert_chain_pems[0].write_to_path(cert)
        made.private_key_pem.write_to_path(key)
        return cert, key

    def asking_for_client(self) -> ssl.SSLContext:
        """A server's side that wants a certificate of ours from the client."""
        context = self.server()
        self._ours.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context
