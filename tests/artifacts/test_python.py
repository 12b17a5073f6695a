"""The texts for Python, run in this process."""

import asyncio
import importlib.util
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kbalance.analysis.artifacts import Setting
from kbalance.balancing import DnsEndpoints, EndpointSlices, Origin, StaticEndpoints
from kbalance.balancing.slices import service_in
from tests.artifacts.clients import NOBODY, REQUESTS, TURNS, WORKERS, balanced, followed, retired
from tests.artifacts.pods import PATIENCE_S, Pod
from tests.artifacts.settings import URL, WEB, at
from tests.wire.certificates import Certificates
from tests.wire.server import always, serving

Written = Callable[[str, str, Setting], Path]
URL_OF_WEB = "http://web.shop.svc.cluster.local/"


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_retiring_transport_opens_new_connections_and_breaks_nothing(pod: Pod, written: Written) -> None:
    module = loaded(written("shorter-lifetime", "retiring_transport.py", at([pod])))

    with httpx.Client(transport=module.RetiringTransport()) as client, ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(client.get, f"http://{pod.ip}:{pod.port}/slow") for _ in range(WORKERS * REQUESTS)]
        failed = sum(1 for one in work if one.exception() is not None or one.result().text != pod.name)

    retired(pod, failed)


def test_a_retiring_transport_for_asyncio_opens_new_connections_and_breaks_nothing(pod: Pod, written: Written) -> None:
    module = loaded(written("shorter-lifetime", "retiring_transport_async.py", at([pod])))

    async def main() -> int:
        async with httpx.AsyncClient(transport=module.RetiringTransport()) as client:

            async def worker() -> int:
                return sum([(await client.get(f"http://{pod.ip}:{pod.port}/slow")).text != pod.name for _ in range(REQUESTS)])

            return sum(await asyncio.gather(*(worker() for _ in range(WORKERS))))

    retired(pod, asyncio.run(main()))


def test_a_stream_under_way_outlives_its_transport_and_then_ends_it(pod: Pod, written: Written) -> None:
    module = loaded(written("shorter-lifetime", "retiring_transport.py", at([pod])))
    transport = module.RetiringTransport()
    url = f"http://{pod.ip}:{pod.port}/"

    with httpx.Client(transport=transport) as client:
        with client.stream("GET", url) as response:
            transport._until = time.monotonic()
            client.get(url)
            assert (pod.connections, pod.open) == (2, 2)
            assert response.read() == b"pod-1"
        deadline = time.monotonic() + PATIENCE_S
        while pod.open > 1 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert pod.open == 1


class Resolver:
    """Says what a test has it say, and how often it was asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    def __call__(self) -> list[str]:
        self.asked += 1
        return self.addresses

    async def awaited(self) -> list[str]:
        return self()


def test_a_balancing_transport_takes_the_endpoints_in_turn(three: Sequence[Pod], written: Written) -> None:
    module = loaded(written("client-side-balancing", "balancing_transport.py", at(three)))
    resolver = Resolver([three[0].ip, NOBODY, three[1].ip, three[2].ip])

    with httpx.Client(transport=module.BalancingTransport(resolver)) as client:
        balanced(three, [client.get(URL_OF_WEB).text for _ in range(TURNS)])


def test_a_balancing_transport_for_asyncio_takes_the_endpoints_in_turn(three: Sequence[Pod], written: Written) -> None:
    module = loaded(written("client-side-balancing", "balancing_transport_async.py", at(three)))
    resolver = Resolver([three[0].ip, NOBODY, three[1].ip, three[2].ip])

    async def main() -> list[str]:
        async with httpx.AsyncClient(transport=module.BalancingTransport(resolver.awaited)) as client:
            return [(await client.get(URL_OF_WEB)).text for _ in range(TURNS)]

    balanced(three, asyncio.run(main()))


def test_a_balancing_transport_follows_the_list_and_looks_no_oftener_than_it_says(three: Sequence[Pod], written: Written) -> None:
    module = loaded(written("client-side-balancing", "balancing_transport.py", at(three)))
    resolver = Resolver([three[0].ip, three[2].ip])
    with httpx.Client(transport=module.BalancingTransport(resolver)) as client:
        before = [client.get(URL_OF_WEB).text for _ in range(10)]
        assert resolver.asked == 1
        resolver.addresses = [three[0].ip, three[1].ip]
        module.REFRESH_S = 0.0

        after = [client.get(URL_OF_WEB).text for _ in range(10)]

    assert sorted(set(before)) == ["pod-1", "pod-3"]
    followed(after)


@pytest.mark.parametrize(("name", "trusted"), [("web.test", True), ("other.test", False)])
def test_a_balancing_transport_compares_the_certificate_with_the_name(
    name: str, trusted: bool, written: Written, certificates: Certificates
) -> None:
    """The certificate is for the address as well, so comparing it with that would always do."""
    verify = ssl.create_default_context(cafile=certificates.cacert)
    answer = always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with serving(answer, certificates.server(name)) as server:
        setting = replace(URL, service="web.test", port=server.address.port)
        module = loaded(written("client-side-balancing", "balancing_transport.py", setting))
        transport = module.BalancingTransport(lambda: [server.address.ip], lambda: httpx.HTTPTransport(verify=verify))
        with httpx.Client(transport=transport) as client:
            if trusted:
                assert client.get(f"{setting.url}/").text == "ok"
            else:
                with pytest.raises(httpx.ConnectError, match=r"web\.test"):
                    client.get(f"{setting.url}/")


def test_no_addresses_is_an_error_that_names_the_name(three: Sequence[Pod], written: Written) -> None:
    module = loaded(written("client-side-balancing", "balancing_transport.py", at(three)))

    with (
        httpx.Client(transport=module.BalancingTransport(list)) as client,
        pytest.raises(httpx.ConnectError, match=r"web-headless\.shop\.svc\.cluster\.local has no endpoints"),
    ):
        client.get(URL_OF_WEB)


def test_clients_in_turn_open_a_connection_each(pod: Pod, written: Written) -> None:
    setting = replace(URL, service=pod.ip, port=pod.port, scheme="http", connections=5)
    module = loaded(written("round-robin-pool", "clients_in_turn.py", setting))

    for _ in range(20):
        assert module.next_client().get("/").text == "pod-1"

    assert pod.requests == [4] * 5
    for client in module.clients:
        client.close()


def test_every_answer_names_the_pod(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "web-1")
    module = loaded(written("tell-who-answers", "pod_name_header.py", WEB))

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(module.asgi(asgi))) as client:
            return await client.get("http://web/")

    with httpx.Client(transport=httpx.WSGITransport(module.wsgi(wsgi))) as client:
        answers = [client.get("http://web/"), asyncio.run(ask())]

    assert [answer.headers["X-Pod-Name"] for answer in answers] == ["web-1", "web-1"]


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_kbalance_s_own_client_takes_the_endpoints_in_turn(three: Sequence[Pod], written: Written, kind: str) -> None:
    module = loaded(written("client-side-balancing", "kbalance_client.py", at(three)))
    addresses = [three[0].ip, NOBODY, three[1].ip, three[2].ip]
    source = StaticEndpoints({module.HOST: [(address, three[0].port) for address in addresses]})

    def threads() -> list[str]:
        with module.make_client(source) as client:
            return [client.get(URL_OF_WEB).text for _ in range(TURNS)]

    async def loop() -> list[str]:
        async with module.make_async_client(source) as client:
            return [(await client.get(URL_OF_WEB)).text for _ in range(TURNS)]

    answers = threads() if kind == "threads" else asyncio.run(loop())

    # The address where nobody listens is tried in its turn until it is ejected, and another endpoint takes the request.
    assert {answers.count(pod.name) for pod in three} <= set(range(TURNS // 3 - 5, TURNS // 3 + 6))
    assert [pod.connections for pod in three] == [1, 1, 1]
    assert {host for pod in three for host in pod.hosts} == {"web.shop.svc.cluster.local"}


def test_kbalance_s_own_client_asks_the_api_or_dns(written: Written) -> None:
    of_service = loaded(written("client-side-balancing", "kbalance_client.py", WEB))
    of_url = loaded(written("client-side-balancing", "kbalance_client.py", URL))

    origin = Origin("http", of_service.HOST, 80)
    assert (type(of_service.by_api()), type(of_service.by_dns())) == (EndpointSlices, DnsEndpoints)
    assert service_in(origin.host) == ("web", "shop", True)
    with of_service.make_client() as client:
        assert type(client._transport._arrangement.source) is EndpointSlices
    with of_url.make_client() as client:
        assert type(client._transport._arrangement.source) is DnsEndpoints


def test_kbalance_s_own_recycling_client_opens_new_connections_and_breaks_nothing(pod: Pod, written: Written) -> None:
    module = loaded(written("shorter-lifetime", "kbalance_recycling.py", at([pod])))

    with module.make_client() as client, ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(client.get, f"http://{pod.ip}:{pod.port}/slow") for _ in range(WORKERS * REQUESTS)]
        failed = sum(1 for one in work if one.exception() is not None or one.result().text != pod.name)

    retired(pod, failed)


def test_kbalance_s_own_connections_take_turns(pod: Pod, written: Written) -> None:
    module = loaded(written("round-robin-pool", "kbalance_in_turn.py", replace(at([pod]), connections=4)))

    async def main() -> list[str]:
        async with module.make_async_client() as client:
            return [(await client.get(f"http://{pod.ip}:{pod.port}/")).text for _ in range(20)]

    assert asyncio.run(main()) == [pod.name] * 20
    assert pod.connections == 4
