"""Answers in the shapes of servers that people really run, each with the trap that comes with it."""

import json
from dataclasses import dataclass

import pytest

from kbalance.analysis.identity import Sample, calibrate
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address, EndpointFacts, Facts
from kbalance.model.words import FactsSource

NONCE = "kb5f0c91e2"
PODS = {"web-7d4f9-x2xk8": "198.18.11.5", "web-7d4f9-q9zvw": "198.18.12.7", "web-7d4f9-lm2nb": "198.18.13.9"}
CLIENT = "198.18.19.1"
HOST = "web.shop.svc.cluster.local"
REQUEST = RequestSpec(method="GET", authority=f"{HOST}:8080", path="/", headers=(("X-Team", "blue"),), nonce=NONCE)
ECHOED = f"Host: {HOST}:8080\nAccept: */*\nUser-Agent: kbalance/0\nX-Kbalance-Nonce: {NONCE}\nX-Team: blue\n"
ECHOED_JSON = {"host": f"{HOST}:8080", "accept": "*/*", "x-kbalance-nonce": NONCE, "x-team": "blue"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server's answers; ``{pod}`` and ``{ip}`` stand for the pod's name and address, ``{port}`` for its client."""

    name: str
    body: str
    source: str
    """Where the pod stands when endpoints are known."""
    blind: str | None
    """Where it is found when no endpoint is known."""
    headers: str = "Content-Type: text/plain"
    request: RequestSpec = REQUEST

    def answer(self, pod: str, port: int) -> bytes:
        text = self.body.replace("{pod}", pod).replace("{ip}", PODS[pod]).replace("{port}", str(port))
        return text.encode()


SERVERS = (
    Server(name="agnhost /hostname", body="{pod}", source="body", blind="body"),
    Server(
        name="podinfo /api/info",
        body='{\n  "hostname": "{pod}",\n  "version": "6.7.0",\n  "color": "#34577c",\n  "num_cpu": "4"\n}',
        source="json /hostname",
        blind="json /hostname",
    ),
    Server(
        name="whoami",
        body="Hostname: {pod}\nIP: 127.0.0.1\nIP: ::1\nIP: {ip}\nIP: fe80::1\n"
        f"RemoteAddr: {CLIENT}:{{port}}\nGET / HTTP/1.1\n{ECHOED}",
        source="line Hostname",
        blind="line Hostname",
    ),
    Server(
        name="whoami /api",
        body=json.dumps(
            {
                "hostname": "{pod}",
                "ip": ["127.0.0.1", "{ip}"],
                "headers": {name: [value] for name, value in ECHOED_JSON.items()},
                "url": "/",
                "host": f"{HOST}:8080",
                "method": "GET",
                "remoteAddr": f"{CLIENT}:{{port}}",
            }
        ),
        source="json /hostname",
        blind="json /hostname",
    ),
    Server(
        name="mendhak http-https-echo",
        body=json.dumps(
            {
                "path": "/",
                "headers": ECHOED_JSON,
                "method": "GET",
                "hostname": HOST,
                "ip": f"::ffff:{CLIENT}",
                "os": {"hostname": "{pod}"},
            }
        ),
        source="json /os/hostname",
        blind="json /os/hostname",
    ),
    Server(
        name="ealen echo-server",
        body=json.dumps(
            {
                "host": {"hostname": HOST, "ip": f"::ffff:{CLIENT}", "ips": []},
                "http": {"method": "GET", "protocol": "http"},
                "request": {"params": {"0": "/"}, "headers": ECHOED_JSON},
                "environment": {"PATH": "/usr/bin", "HOSTNAME": "{pod}", "HOME": "/root"},
            }
        ),
        source="json /environment/HOSTNAME",
        blind="json /environment/HOSTNAME",
    ),
    Server(
        name="echoserver",
        body="\n\nHostname: {pod}\n\nPod Information:\n\tnode name:\tn1\n\tpod name:\t{pod}\n\tpod IP:\t{ip}\n\n"
        f"Request Information:\n\tclient_address={CLIENT}\n\nRequest Headers:\n{ECHOED}",
        source="line Hostname",
        blind="line Hostname",
    ),
    Server(
        name="jmalloc echo-server",
        body=f"Request served by {{pod}}\n\nGET / HTTP/1.1\n\n{ECHOED}",
        source="line Request served by",
        blind="line Request served by",
    ),
    Server(
        name="hello-app",
        body="Hello, world!\nVersion: 1.0.0\nHostname: {pod}\n",
        source="line Hostname",
        blind="line Hostname",
    ),
    Server(
        name="gateway echo-basic",
        body=json.dumps(
            {
                "path": "/",
                "host": f"{HOST}:8080",
                "method": "GET",
                "proto": "HTTP/1.1",
                "headers": {name: [value] for name, value in ECHOED_JSON.items()},
                "namespace": "shop",
                "ingress": "",
                "service": "web",
                "pod": "{pod}",
            }
        ),
        source="json /pod",
        blind="json /pod",
    ),
    Server(
        name="nginx hello plain text",
        body="Server address: {ip}:80\nServer name: {pod}\nDate: 23/Nov/2024:18:36:01 +0000\nURI: /\nRequest ID: 0af{port}\n",
        source="line Server name",
        blind="line Server name",
    ),
    Server(
        name="nginx hello html",
        body="<html><p><span>Server&nbsp;address:</span> <span>{ip}:80</span></p>"
        "<p><span>Server&nbsp;name:</span> <span>{pod}</span></p><p>Request ID: 0af{port}</p></html>",
        source="word of body",
        blind=None,
    ),
    Server(
        name="fortio /debug",
        body=f"Φορτίο version 1.60.3 (in fortio 1.60.3) debug server up for 1m2.3s on {{pod}} - request from "
        f"{CLIENT}:{{port}}\n\nGET /debug HTTP/1.1\n\nheaders:\n\n{ECHOED}\nbody:\n\n\n",
        source="line up for ... on",
        blind="line up for ... on",
    ),
    Server(
        name="a header in the wild",
        body="OK",
        headers="Server: nginx\r\nX-Served-By: {pod}\r\nETag: W/{pod}",
        source="header X-Served-By",
        blind="header X-Served-By",
    ),
    Server(
        name="a longer value",
        body="OK",
        headers='Server-Timing: app;dur=1{port}, pod;desc="{pod}"',
        source="word of header Server-Timing",
        blind=None,
    ),
    Server(
        name="a full domain name",
        body="{pod}.web.shop.svc.cluster.local\n",
        source="body",
        blind="body",
    ),
)

NAMELESS = (
    Server(name="agnhost /", body="NOW: 2024-11-23 18:36:01.52{port} +0000 UTC", source="", blind=None),
    Server(name="a page that stays", body="<html><h1>It works!</h1></html>", source="", blind=None),
    Server(name="a word", body="OK", source="", blind=None),
    Server(name="a constant name", body="", headers="X-Served-By: edge\r\nServer: nginx", source="", blind=None),
    Server(name="an id for each request", body="", headers="X-Served-By: id-{port}", source="", blind=None),
    Server(name="echo-basic without POD_NAME", body='{"path": "/", "namespace": "", "pod": ""}', source="", blind=None),
    Server(name="podinfo that hides", body='{"hostname": "localhost", "version": "6.7.0"}', source="", blind=None),
    Server(name="fortio /", body=f"GET / HTTP/1.1\n\n{ECHOED}", source="", blind=None),
    Server(name="whoami without names", body=f"RemoteAddr: {CLIENT}:{{port}}\nIP: 127.0.0.1\n", source="", blind=None),
    Server(name="only the request's host", body=json.dumps({"hostname": HOST}), source="", blind=None),
)

FACTS = Facts(
    source=FactsSource.API,
    endpoints=tuple(EndpointFacts(name=name, address=Address(PODS[name], 80)) for name in sorted(PODS)),
)


def answers(server: Server, *, direct: bool) -> list[Sample]:
    """Two answers on each of two connections to every pod, asked in turns."""
    samples = []
    for connection in range(2 * len(PODS)):
        pod = sorted(PODS)[connection % len(PODS)]
        for exchange in range(2):
            port = 40000 + connection
            head = f"HTTP/1.1 200 OK\r\n{server.headers}".replace("{pod}", pod).replace("{port}", f"{port}{exchange}")
            samples.append(
                Sample(
                    endpoint=pod if direct else None,
                    connection=connection,
                    status=200,
                    head=head.encode(),
                    body=server.answer(pod, port),
                    local=CLIENT,
                    local_port=port,
                )
            )
    return samples


@pytest.mark.parametrize("server", SERVERS, ids=lambda s: s.name)
def test_server_is_identified_on_direct_connections(server: Server) -> None:
    """The right place is chosen and gives every endpoint's name."""
    samples = answers(server, direct=True)

    found = calibrate(samples, FACTS, server.request)

    assert (found.source, found.calibrated) == (server.source, True)
    assert found.identifier is not None
    assert [found.identifier(s.raw(found.identifier.part)) for s in samples] == [s.endpoint for s in samples]


@pytest.mark.parametrize("server", SERVERS, ids=lambda s: s.name)
def test_server_is_identified_through_the_service(server: Server) -> None:
    """With known endpoints that cannot be dialled, known names are recognised, but not calibrated."""
    samples = answers(server, direct=False)

    found = calibrate(samples, FACTS, server.request)

    assert (found.source, found.calibrated) == (server.source, False)


@pytest.mark.parametrize("server", SERVERS, ids=lambda s: s.name)
def test_server_is_identified_without_known_endpoints(server: Server) -> None:
    """Only well-known shapes count, and their own words are the names."""
    samples = answers(server, direct=False)

    found = calibrate(samples, Facts(source=FactsSource.ANSWERS), server.request)

    assert (found.source, found.calibrated) == (server.blind, False)
    if found.identifier is not None:
        names = {found.identifier(s.raw(found.identifier.part)) for s in samples}
        assert {str(name).partition(".")[0] for name in names} == set(PODS)


@pytest.mark.parametrize("server", NAMELESS, ids=lambda s: s.name)
@pytest.mark.parametrize("direct", [True, False])
def test_server_without_a_name_is_not_given_one(server: Server, direct: bool) -> None:
    """Constants, echoes, times and ids are nobody's identity; the reasons say why."""
    found = calibrate(answers(server, direct=direct), FACTS, server.request)

    assert (found.identifier, found.source, found.calibrated) == (None, None, False)
    assert found.reasons


@pytest.mark.parametrize("server", [s for s in NAMELESS if s.name != "a constant name"], ids=lambda s: s.name)
def test_server_without_a_name_is_not_given_one_blindly(server: Server) -> None:
    """Without known endpoints a constant in X-Served-By has to be believed; nothing else here has."""
    found = calibrate(answers(server, direct=False), Facts(source=FactsSource.ANSWERS), server.request)

    assert found.identifier is None
