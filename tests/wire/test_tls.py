"""Contexts for https: what they demand, and what is said of files that do not serve."""

import contextlib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from kbalance.errors import TargetError
from kbalance.wire.tls import make_tls
from tests.wire.certificates import Certificates


def _demands(context: ssl.SSLContext) -> tuple[ssl.VerifyMode, bool, ssl.TLSVersion]:
    return context.verify_mode, context.check_hostname, context.minimum_version


def test_by_default_everything_is_verified() -> None:
    tls = make_tls("web.test")
    assert tls.name == "web.test"
    assert _demands(tls.context) == (ssl.CERT_REQUIRED, True, ssl.TLSVersion.TLSv1_2)


def test_insecure_verifies_nothing() -> None:
    assert _demands(make_tls("web.test", insecure=True).context) == (ssl.CERT_NONE, False, ssl.TLSVersion.TLSv1_2)


def test_a_given_authority_is_the_only_one(certificates: Certificates) -> None:
    assert len(make_tls("web.test", cacert=certificates.cacert).context.get_ca_certs()) == 1


@pytest.mark.parametrize(("offered", "chosen"), [(None, "http/1.1"), (("h2", "http/1.1"), "h2"), (("spdy/3",), None)])
def test_the_server_chooses_among_the_protocols_offered(
    certificates: Certificates, offered: tuple[str, ...] | None, chosen: str | None
) -> None:
    ca = certificates.cacert
    tls = make_tls("web.test", cacert=ca) if offered is None else make_tls("web.test", cacert=ca, alpn=offered)
    server = certificates.server()
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context.wrap_bio(theirs, ours, server_hostname=tls.name)
    other = server.wrap_bio(ours, theirs, server_side=True)
    for side in (client, other, client, other):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.selected_alpn_protocol() == chosen


def test_files_that_do_not_serve(certificates: Certificates, tmp_path: Path) -> None:
    junk, absent = tmp_path / "junk.pem", tmp_path / "absent.pem"
    junk.write_text("junk\n")
    given: list[dict[str, str]] = [
        {"cacert": str(absent)},
        {"cacert": str(junk)},
        {"cert": str(absent)},
        {"cert": str(junk)},
        {"cert": certificates.client_cert, "key": str(absent)},
        {"key": certificates.client_key},
    ]
    ca, pair = "with PEM certificates.", "with a PEM certificate and its unencrypted key."
    assert [_refusal(**files) for files in given] == [
        f"The CA file {absent} cannot be used (No such file or directory); give a readable file {ca}",
        f"The CA file {junk} cannot be used (no certificate or crl found); give a readable file {ca}",
        f"The client certificate {absent} cannot be used (No such file or directory); give a readable file {pair}",
        f"The client certificate {junk} cannot be used (not the expected PEM data); give a readable file {pair}",
        f"The client certificate {certificates.client_cert} with key {absent} cannot be used (No such file or directory); "
        f"give a readable file {pair}",
        f"The key {certificates.client_key} stands alone; name its certificate too with --cert.",
    ]


def _refusal(cacert: str | None = None, cert: str | None = None, key: str | None = None) -> str:
    with pytest.raises(TargetError) as caught:
        make_tls("web.test", cacert=cacert, cert=cert, key=key)
    return str(caught.value)


def test_an_encrypted_key_is_refused_rather_than_asked_for(certificates: Certificates, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(certificates.client_key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "(the key is encrypted)" in _refusal(cert=certificates.client_cert, key=str(locked))


def test_plain_http_never_loads_ssl() -> None:
    code = "import sys, kbalance.wire.tls, kbalance.wire.connection; print('ssl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
