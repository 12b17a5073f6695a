import base64
import gc
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kbalance.errors import ApiError, DiscoveryError, StreamBroken
from kbalance.kube.client import Access, Client, connect
from kbalance.testbed.cluster import Cluster
from tests.wire.certificates import Certificates

from .apis import SECRET, Answer, api, json_answer, kubeconfig, status

PODS = "/api/v1/namespaces/shop/pods"
PATIENCE_S = 10.0
"""Only a broken test ever waits so long."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def client(folder: Path, server: str) -> Client:
    return connect(Access(kubeconfig=kubeconfig(folder, server, {"token": SECRET})), timeout_s=PATIENCE_S)


def refusal(of: Client, path: str = f"{PODS}/web-1") -> ApiError:
    with pytest.raises(ApiError) as caught:
        of.get(path)
    return caught.value


def is_one_sentence(message: str) -> bool:
    return re.fullmatch(r"[A-Z].*[.?]", message) is not None and re.search(r"[.!?] [A-Z]", message) is None


def test_an_object_is_asked_for_with_the_users_token(tmp_path: Path) -> None:
    with api(json_answer({"kind": "Pod"})) as server:
        found = client(tmp_path, server.url).get(f"{PODS}/web-1", {"pretty": "a b"})

    asked = server.asked[0]
    assert found == {"kind": "Pod"}
    assert (asked.method, asked.path) == ("GET", f"{PODS}/web-1?pretty=a+b")
    assert asked.headers["Authorization"] == f"Bearer {SECRET}"
    assert asked.headers["User-Agent"].startswith("kbalance/")


def test_a_list_is_read_to_its_last_page(tmp_path: Path) -> None:
    first = json_answer({"items": [{"n": 1}], "metadata": {"continue": "more+"}})
    with api(first, json_answer({"items": None, "metadata": {"continue": "x"}}), json_answer({"items": [{"n": 2}]})) as server:
        found = client(tmp_path, server.url).list(PODS, {"labelSelector": "app=web"})

    assert found == [{"n": 1}, {"n": 2}]
    assert server.asked[1].path == f"{PODS}?limit=500&labelSelector=app%3Dweb&continue=more%2B"


def test_a_list_that_expired_is_read_anew_once(tmp_path: Path) -> None:
    page, gone = json_answer({"items": [{"n": 1}], "metadata": {"continue": "x"}}), status(410, "Expired", "too old")
    with api(page, gone, json_answer({"items": [{"n": 2}, {"n": 3}]})) as server:
        assert client(tmp_path, server.url).list(PODS) == [{"n": 2}, {"n": 3}]

    with api(page, gone, page, gone) as server, pytest.raises(ApiError) as caught:
        client(tmp_path, server.url).list(PODS)
    assert (caught.value.status, len(server.asked)) == (410, 4)


def test_metadata_alone_is_asked_for_when_it_is_enough(tmp_path: Path) -> None:
    with api(json_answer({"items": []})) as server:
        client(tmp_path, server.url).list(PODS, metadata_only=True)

    assert "as=PartialObjectMetadataList" in server.asked[0].headers["Accept"]


def test_objects_are_made_and_removed(tmp_path: Path) -> None:
    with api(json_answer({"made": 1}, 201), json_answer({}), status(404, "NotFound", 'pods "a" not found')) as server:
        ours = client(tmp_path, server.url)
        made = ours.create(PODS, {"kind": "Pod"}, {"dryRun": "All"})
        removed = [ours.delete(f"{PODS}/a"), ours.delete(f"{PODS}/a", propagation="Foreground")]

    assert (made, removed) == ({"made": 1}, [True, False])
    assert [(asked.method, json.loads(asked.body)) for asked in server.asked] == [
        ("POST", {"kind": "Pod"}),
        ("DELETE", {"propagationPolicy": "Background"}),
        ("DELETE", {"propagationPolicy": "Foreground"}),
    ]


def test_threads_share_connections_that_are_kept(tmp_path: Path) -> None:
    with api(json_answer({"ok": True})) as server:
        ours = client(tmp_path, server.url)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda n: ours.get(f"/{n}"), range(40)))
        connections = server.connections

    assert answers == [{"ok": True}] * 40
    assert connections <= 4


def test_the_trace_has_a_line_for_each_call_and_no_credentials(tmp_path: Path) -> None:
    lines: list[str] = []
    with api(json_answer({"items": [], "metadata": {"continue": SECRET}}), json_answer({"items": []})) as server:
        connect(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"token": SECRET})), trace=lines.append).list(PODS)
        url = server.url
    with pytest.raises(ApiError):
        connect(Access(kubeconfig=kubeconfig(tmp_path, url, {"token": SECRET})), trace=lines.append).get("/x")

    shown = [re.sub(r"\d+ ms$", "N ms", line) for line in lines]
    assert shown == [f"GET {PODS}?limit=500 200 N ms"] * 2 + ["GET /x no answer N ms"]


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_get_is_repeated_when_the_server_is_busy(tmp_path: Path, code: int) -> None:
    busy = status(code, "", "busy", retry_after="0")
    with api(busy, busy, json_answer({"at": "last"})) as server:
        assert client(tmp_path, server.url).get("/x") == {"at": "last"}


@pytest.mark.parametrize(("wanted", "asked"), [("0", 3), ("3600", 1)])
def test_a_busy_server_is_given_up_on_soon(tmp_path: Path, wanted: str, asked: int) -> None:
    with api(status(429, "TooManyRequests", "too many requests", retry_after=wanted)) as server:
        error = refusal(client(tmp_path, server.url))

    assert (error.status, error.reason, len(server.asked)) == (429, "TooManyRequests", asked)
    assert is_one_sentence(str(error))


def test_what_changes_something_is_never_repeated(tmp_path: Path) -> None:
    with api(status(503, "ServiceUnavailable", "busy", retry_after="0")) as server:
        ours = client(tmp_path, server.url)
        for change in (lambda: ours.create(PODS, {}), lambda: ours.delete(f"{PODS}/a")):
            with pytest.raises(ApiError):
                change()

    assert [asked.method for asked in server.asked] == ["POST", "DELETE"]


DENIED = 'pods "web-1" is forbidden: User "anna" cannot get resource "pods" in API group "" in the namespace "shop"'
REFUSALS = {
    "401": (status(401, "Unauthorized", "Unauthorized"), ["credentials of user anna", "log in again"]),
    "403": (status(403, "Forbidden", DENIED), ["User anna may not get pods in namespace shop", 'verbs: ["get"]']),
    "403 cluster": (
        status(403, "Forbidden", DENIED.replace(' in the namespace "shop"', " at the cluster scope")),
        ["User anna may not get pods in the whole cluster", "ClusterRole"],
    ),
    "403 as": (
        status(403, "Forbidden", 'users "x" is forbidden: User "anna" cannot impersonate resource "users" in API group ""'),
        ["User anna may not act as others", "remove `as`"],
    ),
    "403 quota": (status(403, "Forbidden", "exceeded quota: small"), ["exceeded quota: small", "ask whoever runs the cluster"]),
    "404": (
        status(404, "NotFound", 'pods "web-1" not found', {"name": "web-1", "kind": "pods"}),
        ["no web-1 among the pods of namespace shop", "kubectl get pods -n shop"],
    ),
    "404 path": (Answer(status=404, body=b"404 page not found\n"), ["does not know", "new enough?"]),
    "409": (status(409, "AlreadyExists", 'pods "web-1" already exists'), ['pods "web-1" already exists', "another name"]),
    "409 conflict": (status(409, "Conflict", "the object has been modified"), ["has been modified", "try again"]),
    "422": (status(422, "Invalid", 'Pod "web-1" is invalid:\n spec: required'), ['Pod "web-1" is invalid: spec: required']),
    "400": (status(400, "BadRequest", "container is waiting"), ["HTTP 400: container is waiting"]),
    "500": (
        status(500, "InternalError", "etcd is gone", retry_after="9"),
        ["HTTP 500", "etcd is gone", "try again later"],
    ),
    "302": (Answer(status=302, headers={"Location": "http://127.0.0.1/login"}), ["login page"]),
    "login page": (Answer(body=b"<html>", headers={"Content-Type": "text/html; a=b"}), ["text/html", "login page"]),
    "proxy": (Answer(status=403, body=b"<html>", headers={"Content-Type": "text/html"}), ["not a Kubernetes API", "proxy"]),
    "list": (Answer(body=b"[]"), ["not a Kubernetes API"]),
    "http": (Answer(status=400, body=b"Client sent an HTTP request to an HTTPS server.\n"), ["speaks HTTPS", "https://"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_a_sentence_with_the_next_step(tmp_path: Path, name: str) -> None:
    answer, words = REFUSALS[name]
    namespace = json_answer({"kind": "Namespace"})
    with api(answer, *([namespace] if name.startswith("404") else [])) as server:
        error = refusal(client(tmp_path, server.url))

    assert error.status == answer.status
    assert is_one_sentence(str(error))
    assert [word for word in words if word not in str(error)] == []


def test_nobody_is_told_to_log_in_where_something_is_forbidden(tmp_path: Path) -> None:
    with api(status(403, "Forbidden", DENIED.replace("anna", "system:anonymous"))) as server:
        error = refusal(connect(Access(kubeconfig=kubeconfig(tmp_path, server.url))))

    assert "no credentials may not get pods in namespace shop, like user anna; log in." in str(error)


def test_a_refusal_keeps_the_apis_own_words(tmp_path: Path) -> None:
    with api(status(403, "Forbidden", DENIED)) as server:
        error = refusal(client(tmp_path, server.url))

    assert (error.status, error.reason, error.answer) == (403, "Forbidden", DENIED)


def test_a_missing_namespace_is_told_from_a_missing_object(tmp_path: Path) -> None:
    missing = status(404, "NotFound", 'pods "web-1" not found', {"name": "web-1", "kind": "pods"})
    no_namespace = status(404, "NotFound", 'namespaces "shop" not found', {"name": "shop", "kind": "namespaces"})
    with api(missing, no_namespace) as server:
        ours = client(tmp_path, server.url)
        error = refusal(ours)
        with pytest.raises(ApiError) as caught:
            ours.create(PODS, {})

    assert str(error) == str(caught.value)
    assert "Namespace shop does not exist in context laptop" in str(error)


def test_a_namespace_that_may_not_be_read_leaves_the_object_missing(tmp_path: Path) -> None:
    missing = status(404, "NotFound", 'pods "web-1" not found', {"name": "web-1", "kind": "pods"})
    with api(missing, status(403, "Forbidden", DENIED)) as server:
        assert "no web-1 among the pods" in str(refusal(client(tmp_path, server.url)))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"

    error = refusal(client(tmp_path, server))

    assert (error.status, error.reason) == (None, "")
    assert str(error) == (
        f"The API server {server} of context laptop refused the connection; is the cluster up, and the VPN connected?"
    )


def test_a_server_that_says_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        error = refusal(connect(Access(kubeconfig=path), timeout_s=0.1))

    assert "did not answer in time" in str(error)


def test_a_name_that_does_not_resolve_says_so(tmp_path: Path) -> None:
    assert "does not resolve" in str(refusal(client(tmp_path, "http://api.kbalance.invalid")))


def test_a_connection_that_breaks_each_time_is_given_up_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[int] = []

        def hang_up() -> None:
            for _ in range(3):
                with server.accept()[0] as connection:
                    connection.recv(65536)
                    accepted.append(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        error = refusal(client(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()

    assert len(accepted) == 3
    # What it may be when a server of HTTPS is sent a token in plain: its answer says so, and the reset often comes first.
    assert str(error).endswith("broke off the connection; is the cluster up, and should its server not begin with https://?")


def over_tls(folder: Path, tls: ssl.SSLContext, cluster: dict[str, Any], user: dict[str, str] | None = None) -> str:
    """What the user reads when the API is asked over TLS; empty when it answers."""
    with api(tls=tls) as server:
        path = kubeconfig(folder, server.url, {"token": SECRET} if user is None else user, cluster)
        try:
            connect(Access(kubeconfig=path), timeout_s=PATIENCE_S).get("/x")
        except ApiError as error:
            return str(error)
        return ""


def test_a_server_with_a_good_certificate_is_talked_to(tmp_path: Path, certificates: Certificates) -> None:
    authority = {"certificate-authority": certificates.cacert}

    assert over_tls(tmp_path, certificates.server(), authority) == ""
    assert over_tls(tmp_path, certificates.asking_for_client(), authority, client_files(certificates)) == ""
    assert over_tls(tmp_path, certificates.server(), authority | {"tls-server-name": "web.test"}) == ""


def client_files(certificates: Certificates) -> dict[str, str]:
    return {"client-certificate": certificates.client_cert, "client-key": certificates.client_key}


def test_a_certificate_that_cannot_be_trusted_says_why(tmp_path: Path, certificates: Certificates) -> None:
    authority = {"certificate-authority": certificates.cacert}

    wrong_authority = over_tls(tmp_path, certificates.server(trusted=False), authority)
    wrong_name = over_tls(tmp_path, certificates.server(), authority | {"tls-server-name": "other.test"})
    expired = over_tls(tmp_path, certificates.server(expired=True), authority)

    assert "not signed by the certificate-authority of the kubeconfig" in wrong_authority
    assert "kubectl config" in wrong_authority
    assert "is for another name" in wrong_name
    assert "tls-server-name" in wrong_name
    assert "has expired" in expired


def test_a_client_certificate_of_another_cluster_is_told(tmp_path: Path, certificates: Certificates) -> None:
    tls = certificates.asking_for_client()
    # Where the server still says why before anything is sent; later it may hang up before that is read.
    tls.maximum_version = ssl.TLSVersion.TLSv1_2

    message = over_tls(tmp_path, tls, {"certificate-authority": certificates.cacert}, client_files(Certificates(tmp_path)))

    assert "does not accept the client certificate of user anna; log in again" in message


def test_plain_http_where_tls_was_meant_is_told(tmp_path: Path, certificates: Certificates) -> None:
    with api() as server:
        error = refusal(client(tmp_path, server.url.replace("http:", "https:")))

    assert "does not speak TLS" in str(error)


def test_an_insecure_cluster_is_talked_to_without_a_word(
    tmp_path: Path, certificates: Certificates, capfd: pytest.CaptureFixture[str]
) -> None:
    assert over_tls(tmp_path, certificates.server(trusted=False), {"insecure-skip-tls-verify": True}) == ""
    assert capfd.readouterr() == ("", "")


def test_no_private_key_stays_on_disk(tmp_path: Path, certificates: Certificates) -> None:
    """Not even in a process that is about to be killed."""
    inline = {f"{key}-data": base64.b64encode(Path(at).read_bytes()).decode() for key, at in client_files(certificates).items()}
    place = tmp_path / "temporary"
    place.mkdir()
    code = "import os, sys\nfrom kbalance.kube.client import Access, connect\n"
    code += "for _ in range(2): connect(Access(kubeconfig=sys.argv[1])).get('/x')\nos._exit(0)"

    with api(tls=certificates.asking_for_client()) as server:
        path = kubeconfig(tmp_path, server.url, inline, {"certificate-authority": certificates.cacert})
        subprocess.run([sys.executable, "-c", code, path], env={**os.environ, "TMPDIR": str(place)}, check=True, timeout=60)

    assert len(server.asked) == 2
    assert list(place.iterdir()) == []


def test_a_proxy_is_named_without_its_credentials(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"127.0.0.1:{closed.getsockname()[1]}"
    path = kubeconfig(tmp_path, "http://api.kbalance.invalid", {}, {"proxy-url": f"http://anna:{SECRET}@{proxy}"})

    message = str(refusal(connect(Access(kubeconfig=path))))

    assert f"through proxy http://{proxy}" in message
    assert SECRET not in message


def test_a_proxy_carries_calls_and_gets_its_credentials(tmp_path: Path) -> None:
    with api(json_answer({"via": "proxy"})) as proxy:
        url = proxy.url.replace("//", "//anna:s%2Fp@")
        path = kubeconfig(tmp_path, "http://api.kbalance.invalid", {}, {"proxy-url": url})
        found = connect(Access(kubeconfig=path)).get("/x")

    assert found == {"via": "proxy"}
    assert proxy.asked[0].path == "http://api.kbalance.invalid/x"
    assert proxy.asked[0].headers["Proxy-Authorization"] == "Basic YW5uYTpzL3A="


def test_the_environments_proxy_is_used_but_not_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api(json_answer({"via": "proxy"})) as proxy, api(json_answer({"via": "nothing"})) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        far = client(tmp_path, "http://api.kbalance.invalid").get("/x")
        near = client(tmp_path, server.url).get("/x")
        monkeypatch.setenv("no_proxy", "kbalance.invalid")
        unproxied = refusal(client(tmp_path, "http://api.kbalance.invalid"))

    assert (far, near) == ({"via": "proxy"}, {"via": "nothing"})
    assert "proxy" not in str(unproxied)


def test_a_log_is_read_as_it_is_written(tmp_path: Path) -> None:
    read_one = threading.Event()

    def written() -> Iterator[bytes]:
        yield b"one\ntw"
        # Goes on only when the first line has arrived.
        assert read_one.wait(PATIENCE_S)
        yield b"o\n\nend"

    with api(Answer(stream=written)) as server:
        lines = []
        for line in client(tmp_path, server.url).follow(f"{PODS}/a/log", {"follow": "true"}):
            lines.append(line)
            read_one.set()

    assert lines == [b"one", b"two", b"", b"end"]
    assert server.asked[0].path == f"{PODS}/a/log?follow=true"


def test_a_log_that_breaks_off_says_so_after_its_whole_lines(tmp_path: Path) -> None:
    def cut_off() -> Iterator[bytes]:
        yield b"one\ntw"
        raise EOFError

    lines: list[bytes] = []
    with api(Answer(stream=cut_off)) as server, pytest.raises(StreamBroken) as caught:
        # Extends as it goes, and keeps what came before the error.
        lines.extend(client(tmp_path, server.url).follow("/log"))

    assert lines == [b"one"]
    assert is_one_sentence(str(caught.value))


def test_a_log_that_is_silent_for_too_long_counts_as_broken(tmp_path: Path) -> None:
    sent, done = threading.Event(), threading.Event()

    def silent() -> Iterator[bytes]:
        yield b"one\n"
        sent.set()
        done.wait(PATIENCE_S)

    lines: list[bytes] = []
    with api(Answer(stream=silent)) as server:
        try:
            # The head has to come in this time as well, and comes from a thread that may have to wait for its turn.
            log = client(tmp_path, server.url).follow("/log", silence_s=2.0)
            assert sent.wait(PATIENCE_S)
            with pytest.raises(StreamBroken, match="ReadTimeoutError"):
                lines.extend(log)
        finally:
            done.set()

    assert lines == [b"one"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_log_that_is_closed_elsewhere_ends(tmp_path: Path, certificates: Certificates, encrypted: bool) -> None:
    done, reading = threading.Event(), threading.Event()

    def silent() -> Iterator[bytes]:
        yield b"one\n"
        done.wait(PATIENCE_S)

    with api(Answer(stream=silent), tls=certificates.server() if encrypted else None) as server:
        path = kubeconfig(tmp_path, server.url, {}, {"certificate-authority": certificates.cacert})
        log = connect(Access(kubeconfig=path)).follow("/log")

        def close_once_read() -> None:
            reading.wait(PATIENCE_S)
            log.close()

        closer = threading.Thread(target=close_once_read)
        closer.start()
        lines = []
        for line in log:
            lines.append(line)
            reading.set()
        ended_by_itself = done.is_set()
        closer.join()
        log.close()
        done.set()

    assert (lines, ended_by_itself) == ([b"one"], False)


def test_a_log_that_is_refused_says_why(tmp_path: Path) -> None:
    with api(status(400, "BadRequest", "container a is waiting to start")) as server, pytest.raises(ApiError) as caught:
        client(tmp_path, server.url).follow("/log")

    assert (caught.value.status, caught.value.answer) == (400, "container a is waiting to start")


def test_the_embedded_cluster_is_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "config"
    with Cluster.start("default") as cluster:
        path.write_text(cluster.kubeconfig())
        ours = connect(Access(kubeconfig=str(path)))
        service = ours.get(f"/api/v1/namespaces/{ours.namespace}/services/web")
        slices = ours.list(f"/apis/discovery.k8s.io/v1/namespaces/{ours.namespace}/endpointslices")
        missing = refusal(ours, f"/api/v1/namespaces/{ours.namespace}/services/nope")

    assert service["spec"]["clusterIP"] == cluster.service.ip
    assert {e["targetRef"]["name"] for one in slices for e in one["endpoints"]} == set(cluster.pods)
    assert (missing.status, missing.reason) == (404, "NotFound")


@pytest.mark.parametrize("name", REFUSALS)
def test_credentials_are_not_shown_even_when_the_server_sends_them_back(tmp_path: Path, name: str) -> None:
    answer, _ = REFUSALS[name]
    leaky = Answer(status=answer.status, body=answer.body.replace(b"anna", SECRET.encode()), headers=answer.headers)
    lines: list[str] = []
    with api(leaky) as server:
        path = kubeconfig(tmp_path, server.url, {"token": SECRET})
        ours = connect(Access(kubeconfig=path), trace=lines.append)
        error = refusal(ours)

    shown = [str(error), repr(error), error.answer, repr(ours), *traceback.format_exception(error), *lines]
    assert SECRET not in "".join(shown)


def test_nothing_is_logged_or_printed_when_calls_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    with api(Answer(status=503, body=b"no", headers={"Retry-After": "0"})) as server:
        refusal(client(tmp_path, server.url))
        url = server.url
    refusal(client(tmp_path, url))
    gc.collect()

    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_the_library_is_loaded_only_for_a_cluster() -> None:
    code = "import sys\nimport kbalance.kube.client\nprint(*({'kubernetes', 'urllib3', 'ssl'} & sys.modules.keys()))"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert out.split() == []


def test_every_error_of_the_room_is_a_discovery_error() -> None:
    assert issubclass(StreamBroken, ApiError)
    assert issubclass(ApiError, DiscoveryError)


def test_a_watch_begins_soon_and_may_then_be_silent(tmp_path: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def late() -> Iterator[bytes]:
        begun.wait(PATIENCE_S)
        # Longer than the socket's patience by now.
        done.wait(0.2)
        yield b'{"type": "BOOKMARK"}\n'

    with api(Answer(stream=late)) as server, client(tmp_path, server.url).watch("/w", {"a": "b"}, lasting_s=60) as watch:
        # As if that which the head is waited for were so short, which a busy machine would exceed.
        assert watch._socket is not None
        watch._socket.settimeout(0.02)
        begun.set()
        lines = list(watch)

    assert lines == [b'{"type": "BOOKMARK"}']
    assert server.asked[0].path == "/w?a=b&watch=true&timeoutSeconds=60"


def test_a_watch_that_the_server_does_not_begin_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ApiError, match="did not answer in time"):
            connect(Access(kubeconfig=path), timeout_s=0.1).watch("/w", lasting_s=60)


@pytest.mark.parametrize("kept", ["keep-alive", "close"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_watch_that_does_not_end_in_its_time_counts_as_broken(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, kept: str, encrypted: bool
) -> None:
    """Also where the server closes the connection afterwards, and only the answer has the socket still."""
    monkeypatch.setattr("kbalance.kube.client.LATE_S", 0.3)
    sent, done = threading.Event(), threading.Event()

    def silent() -> Iterator[bytes]:
        yield b"one\n"
        sent.set()
        done.wait(PATIENCE_S)

    answer = Answer(stream=silent, headers={"Connection": kept})
    with api(answer, tls=certificates.server() if encrypted else None) as server:
        path = kubeconfig(tmp_path, server.url, {}, {"certificate-authority": certificates.cacert})
        lines: list[bytes] = []
        try:
            watch = connect(Access(kubeconfig=path), timeout_s=PATIENCE_S).watch("/w", lasting_s=0)
            assert sent.wait(PATIENCE_S)
            with pytest.raises(StreamBroken, match=r"The watch /w from API server .* broke off"), watch:
                lines.extend(watch)
        finally:
            done.set()

    assert lines == [b"one"]


def test_a_watch_that_is_not_read_leaves_no_connection(tmp_path: Path) -> None:
    done = threading.Event()

    def silent() -> Iterator[bytes]:
        yield b"one\n"
        done.wait(PATIENCE_S)

    with api(Answer(stream=silent)) as server:
        with client(tmp_path, server.url).watch("/w", lasting_s=60):
            pass
        done.set()
        # An open socket would be a warning here, and warnings are errors.
        gc.collect()


def test_a_list_tells_its_version(tmp_path: Path) -> None:
    with api(json_answer({"items": [{"n": 1}], "metadata": {"resourceVersion": "42"}})) as server:
        listed = client(tmp_path, server.url).listed("/w")

    assert (listed.items, listed.version) == ([{"n": 1}], "42")
