"""When a place of the response is believed to tell the pod, and when not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.analysis.identity import Calibration, Part, Sample, calibrate
from kbalance.analysis.identity.candidates import found_in
from kbalance.errors import TargetError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address, EndpointFacts, Facts
from kbalance.model.words import FactsSource

REQUEST = RequestSpec(method="GET", authority="shop.example:8080", path="/cart", nonce="kb77aa10")
NOBODY_KNOWN = Facts(source=FactsSource.ANSWERS)


def facts(*names: str, **more: tuple[str, ...]) -> Facts:
    """Endpoints with addresses of their own; `more` names them together with aliases."""
    known = {**dict.fromkeys(names, ()), **more}
    return Facts(
        source=FactsSource.GIVEN,
        endpoints=tuple(
            EndpointFacts(name=name, address=Address(f"198.18.2.{n}", 80), aliases=aliases)
            for n, (name, aliases) in enumerate(known.items(), 1)
        ),
    )


def sample(
    endpoint: str | None, connection: int, *headers: str, body: str = "", status: int = 200, local: str = "198.18.9.9"
) -> Sample:
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers))
    return Sample(
        endpoint=endpoint,
        connection=connection,
        status=status,
        head=head.encode(),
        body=body.encode(),
        local=local,
        local_port=40000 + connection,
    )


def in_turns(headers: dict[str, str], *, times: int = 4) -> list[Sample]:
    """Answers with one header line each, every endpoint asked in turn, a new connection each time."""
    return [
        sample(endpoint, turn * len(headers) + n, line)
        for turn in range(times)
        for n, (endpoint, line) in enumerate(headers.items())
    ]


def named(found: Calibration, head: str = "", body: str = "") -> str | None:
    assert found.identifier is not None, found.reasons
    return found.identifier(body.encode() if found.identifier.part is Part.BODY else f"HTTP/1.1 200 OK\r\n{head}".encode())


def test_word_is_not_found_inside_a_longer_one() -> None:
    """web-1 stands in web-10, but does not mean it."""
    samples = in_turns({"web-1": "X-Info: pod web-1 (v2)", "web-10": "X-Info: pod web-10 (v2)"})

    found = calibrate(samples, facts("web-1", "web-10"), REQUEST)

    assert found.source == "word of header X-Info"
    assert named(found, "X-Info: pod web-10 (v2)") == "web-10"
    assert named(found, "X-Info: pod web-1, (v2)") == "web-1"
    assert named(found, "X-Info: pod xweb-1 web-11 a.web-1 web-1.5") is None


def test_text_with_two_endpoints_names_none() -> None:
    samples = in_turns({"web-0": "X-Route: web-0", "web-1": "X-Route: web-1"})

    found = calibrate(samples, facts("web-0", "web-1"), REQUEST, "header:X-Route")

    assert named(found, "X-Route: web-1") == "web-1"
    assert named(found, "X-Route: web-0, web-1") == "web-0, web-1"


def test_whole_value_that_is_no_endpoint_is_reported_as_it_stands() -> None:
    samples = in_turns({"web-0": "X-Pod-Name: web-0", "web-1": "X-Pod-Name: web-1"})

    found = calibrate(samples, facts("web-0", "web-1"), REQUEST)

    assert named(found, "X-Pod-Name: canary-7") == "canary-7"
    assert named(found, "X-Pod-Name: upstream connect error") is None
    assert named(found, "X-Other: web-0") is None


def test_whole_body_of_an_error_page_names_nobody() -> None:
    samples = [sample(name, n, body=name) for n, name in enumerate(("web-0", "web-1") * 2)]

    found = calibrate(samples, facts("web-0", "web-1"), REQUEST)

    assert [named(found, body=text) for text in ("Forbidden", "no healthy upstream", "<html>\n</html>", "web-9")] == [
        *(None, None, None),
        "web-9",
    ]


def test_header_is_preferred_to_the_body() -> None:
    samples = [sample(n, i, f"x-pod-name: {n}", body=f'{{"pod": "{n}"}}') for i, n in enumerate(("a-1", "a-2"))]

    assert calibrate(samples, facts("a-1", "a-2"), REQUEST).source == "header x-pod-name"


def test_well_known_field_is_found_in_a_large_document() -> None:
    filler = ", ".join(f'"k{n}": "v{n}"' for n in range(2000))
    samples = [sample(n, i, body=f'{{{filler}, "hostname": "{n}"}}') for i, n in enumerate(("a-1", "a-2"))]

    assert calibrate(samples, facts("a-1", "a-2"), REQUEST).source == "json /hostname"


def test_known_value_is_preferred_to_a_learned_one() -> None:
    samples = [sample(n, i, f"X-Color: {c}", body=n) for i, (n, c) in enumerate([("a-1", "red"), ("a-2", "blue")] * 4)]

    assert calibrate(samples, facts("a-1", "a-2"), REQUEST).source == "body"


def test_value_is_learned_where_the_users_names_are_not_the_pods() -> None:
    samples = in_turns({"left": "X-Pod-Name: web-0", "right": "X-Pod-Name: web-1"})

    found = calibrate(samples, facts("left", "right"), REQUEST)

    assert (found.source, found.calibrated) == ("header X-Pod-Name", True)
    assert [named(found, f"X-Pod-Name: web-{n}") for n in range(3)] == ["left", "right", "web-2"]


def test_failing_endpoint_does_not_block_learning() -> None:
    """It was never heard, so that a new value may be its own and names no stranger."""
    samples = in_turns({"left": "X-Pod-Name: web-0", "right": "X-Pod-Name: web-1"})
    samples += [sample("broken", 100 + n, status=503) for n in range(4)]

    found = calibrate(samples, facts("left", "right", "broken"), REQUEST)

    assert found.calibrated
    assert [named(found, f"X-Pod-Name: web-{n}") for n in range(3)] == ["left", "right", None]


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (in_turns({"left": "X-Id: a-0", "right": "X-Id: a-1"}, times=2), "left and right answered too seldom"),
        ([sample(e, 1, f"X-Id: {e}-0") for e in ("left", "right") * 4], "answered too seldom"),
        ([sample(e, c, f"X-Id: {e}-0") for e in ("left", "right") for c in range(4)], "not asked in turns"),
        ([sample("left", c, "X-Id: a-0") for c in range(4)], "only left answered"),
        (in_turns({"left": "X-Id: a-0", "right": "X-Id: a-0"}), "the same from left and right"),
        (in_turns({"left": "ETag: a-0", "right": "ETag: a-1"}), "does not name a pod"),
        (in_turns({"left": "X-Took: 12 ms", "right": "X-Took: 13 ms"}), "is a time, a number"),
        (in_turns({"left": "X-Started: 2024-11-23T18:36", "right": "X-Started: 2024-11-23T18:37"}), "is a time"),
        (in_turns({"left": "X-Id: right", "right": "X-Id: left"}), "names right on a direct connection to left"),
        (in_turns({"left": "X-Id: a-0", "right": "X-Other: a-1"}), "missing from an answer of right"),
        (in_turns({"left": "X-Id: 198.18.9.9", "right": "X-Id: 198.18.9.9"}), "stands in the request"),
        (in_turns({"left": "X-Id: kb77aa10", "right": "X-Id: kb77aa10"}), "stands in the request"),
        (
            [sample(e, c, f"X-Id: {e}-{c}") for c in range(4) for e in ("left", "right")],
            "changes between answers of left",
        ),
        ([], "nothing was answered"),
    ],
)
def test_place_is_not_believed(samples: list[Sample], reason: str) -> None:
    """Each candidate that fails says why, in words for the user."""
    found = calibrate(samples, facts("left", "right"), REQUEST)

    assert (found.identifier, found.calibrated) == (None, False)
    assert reason in "\n".join(found.reasons)


def test_fields_of_grpc_itself_are_not_looked_at() -> None:
    answer = sample("a", 1, "X-Pod: a", "grpc-status: 0", "Grpc-Encoding: identity")

    sources = {one.source.lower() for one in found_in(answer, "n0nce").whole}

    assert any(source.startswith("header") for source in sources)
    assert not any("grpc-" in source for source in sources)


def test_hostname_of_a_long_name_is_its_first_63_characters() -> None:
    long = [f"{'orders-' * 9}{n}-tail-beyond-the-cut" for n in "ab"]
    samples = in_turns({name: f"X-Hostname: {name[:63]}" for name in (f"a{long[0]}", f"b{long[1]}")})

    found = calibrate(samples, facts(f"a{long[0]}", f"b{long[1]}"), REQUEST)

    assert named(found, f"X-Hostname: a{long[0][:62]}") == f"a{long[0]}"


def test_hostname_that_the_cut_makes_equal_identifies_nobody() -> None:
    long = [f"{'orders-' * 9}{n}" for n in "01"]
    samples = in_turns({name: f"X-Hostname: {name[:62]}" for name in long})

    found = calibrate(samples, facts(*long), REQUEST)

    assert found.reasons == (f"header X-Hostname: {long[0][:62]} stands for {long[0]} and {long[1]}",)


def test_alias_means_the_endpoint() -> None:
    samples = in_turns({"db": "X-Hostname: postgres-0", "web": "X-Hostname: nginx-0"})

    found = calibrate(samples, facts(db=("postgres-0",), web=("nginx-0",)), REQUEST)

    assert named(found, "X-Hostname: nginx-0") == "web"


def test_address_shared_by_two_ports_identifies_nobody() -> None:
    """The port tells them apart, where it is given."""
    both = Facts(
        source=FactsSource.GIVEN,
        endpoints=tuple(EndpointFacts(name=f"p{port}", address=Address("198.18.2.1", port)) for port in (81, 82)),
    )
    bare = in_turns({"p81": "X-Addr: 198.18.2.1", "p82": "X-Addr: 198.18.2.1"})
    full = in_turns({"p81": "X-Addr: 198.18.2.1:81", "p82": "X-Addr: 198.18.2.1:82"})

    assert calibrate(bare, both, REQUEST).reasons == ("header X-Addr: 198.18.2.1 stands for p81 and p82",)
    assert named(calibrate(full, both, REQUEST), "X-Addr: 198.18.2.1:82") == "p82"


@pytest.mark.parametrize(("nodes", "source"), [(("n1", "n2"), "header X-Hostname"), (("n1", "n1"), None)])
def test_node_name_counts_unless_two_pods_share_the_node(nodes: tuple[str, str], source: str | None) -> None:
    hosts = Facts(
        source=FactsSource.API,
        endpoints=tuple(
            EndpointFacts(name=f"ds-{n}", address=Address(f"198.18.2.{n}", 80), node=node) for n, node in enumerate(nodes)
        ),
    )
    samples = in_turns({f"ds-{n}": f"X-Hostname: {node}" for n, node in enumerate(nodes)})

    found = calibrate(samples, hosts, REQUEST)

    assert found.source == source
    if source is None:
        assert found.reasons == ("header X-Hostname: n1 stands for ds-0 and ds-1",)


def test_name_in_the_echoed_part_of_a_body_is_not_looked_for() -> None:
    """A proxy on the way may have added it below the request that it passed on."""
    bodies = {name: f"hello\nX-Kbalance-Nonce: kb77aa10\nX-Via: {name}" for name in ("web-0", "web-1")}
    samples = [sample(name, n, body=body) for n, (name, body) in enumerate(list(bodies.items()) * 4)]

    assert calibrate(samples, facts("web-0", "web-1"), REQUEST).identifier is None


def test_strangers_through_the_service_do_not_spoil_a_well_known_header() -> None:
    samples = [sample(None, n, f"X-Pod-Name: {name}") for n, name in enumerate(("web-0", "old-7", "web-0"))]

    found = calibrate(samples, facts("web-0", "web-1"), REQUEST)

    assert (found.source, found.calibrated) == ("header X-Pod-Name", False)
    assert named(found, "X-Pod-Name: old-7") == "old-7"


def test_constant_name_in_an_unknown_header_is_no_proof_without_direct_connections() -> None:
    samples = [sample(None, n, "X-Leader: web-0") for n in range(4)]

    assert calibrate(samples, facts("web-0", "web-1"), REQUEST).reasons == (
        "header X-Leader and word of header X-Leader: "
        "always names the same endpoint, and no direct connection shows that it is right",
    )


def test_names_that_vary_within_a_connection_are_believed_when_they_come_again() -> None:
    """A proxy that balances requests lets one connection be answered by several pods."""
    samples = [sample(None, 0, f"X-Served-By: web-{n % 3}") for n in range(9)]

    assert calibrate(samples, NOBODY_KNOWN, REQUEST).source == "header X-Served-By"


def test_values_that_are_new_every_time_are_not_names() -> None:
    samples = [sample(None, n, f"X-Served-By: web-{n}") for n in range(9)]

    assert calibrate(samples, NOBODY_KNOWN, REQUEST).reasons == (
        "header X-Served-By: 9 different values in 9 answers are too many to be names of pods",
    )


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("header:x-where", "header x-where"),
        ("json:/a/0/b~1c", "json /a/0/b~1c"),
        (r"regex:at (\S+)", r"regex at (\S+)"),
        (r"regex:(?m)^X-Where: (\S+)", r"regex (?m)^X-Where: (\S+) in headers"),
    ],
)
def test_users_own_place_is_read(spec: str, source: str) -> None:
    samples = [
        sample(name, n, f"X-Where: {name}", body=f'{{"a": [{{"b/c": "{name}"}}], "t": "at {name} ok"}}')
        for n, name in enumerate(("web-0", "web-1"))
    ]

    assert calibrate(samples, facts("web-0", "web-1"), REQUEST, spec).source == source


def test_users_own_place_must_still_be_right() -> None:
    samples = in_turns({"web-0": "X-Where: here", "web-1": "X-Where: here"})

    assert calibrate(samples, facts("web-0", "web-1"), REQUEST, "header:X-Where").identifier is None


def test_users_own_place_may_hold_any_line_when_nothing_is_known() -> None:
    samples = [sample(None, n, f"X-Where: pod {n} of 3") for n in range(3)]

    found = calibrate(samples, NOBODY_KNOWN, REQUEST, "header:X-Where")

    assert named(found, "X-Where: pod 2 of 3") == "pod 2 of 3"


@pytest.mark.parametrize("spec", ["", "auto:x", "head:X", "header:", "header:a b", "json:", "json:a", "regex:", "regex:("])
def test_identity_option_that_makes_no_sense_is_the_users_error(spec: str) -> None:
    with pytest.raises(TargetError):
        calibrate([], NOBODY_KNOWN, REQUEST, spec)


@pytest.mark.parametrize("body", ["[" * 60000, '{"a":' * 300, "{", '{"a": NaN, "b": [true, 1, null]}', "\x00\xff"])
def test_bodies_that_are_hard_to_read_are_only_nameless(body: str) -> None:
    samples = [sample(name, n, body=body) for n, name in enumerate(("web-0", "web-1") * 4)]

    assert calibrate(samples, facts("web-0", "web-1"), REQUEST).identifier is None
    assert calibrate(samples, facts("web-0", "web-1"), REQUEST, "json:/a").identifier is None


SPOKEN = st.sampled_from(
    [
        "web-0.shop.svc:8080",
        "web-0.shop.svc",
        "web-0",
        "/pods/web-1?x=198.18.2.2",
        "web-1",
        "198.18.2.2",
        "GET",
        "node-7",
        "kbff01",
    ]
)
SHAPES = st.sampled_from(
    [
        ("X-Pod-Name: {}", ""),
        ("X-Served-By: {}", "{}"),
        ("X-Info: for {} only", "you asked for {}"),
        ("Via: 1.1 x", '{{"hostname": "{}", "os": {{"hostname": "{}"}}, "pod": "{}"}}'),
        ("Via: 1.1 x", "Hostname: {}\nServer name: {}\n"),
        ("Via: 1.1 x", "Request served by {}\n"),
    ]
)


@given(said=st.lists(SPOKEN, min_size=1, max_size=6), shape=SHAPES, endpoints=st.integers(0, 3), direct=st.booleans())
def test_echo_has_no_identity(said: list[str], shape: tuple[str, str], endpoints: int, direct: bool) -> None:
    """Whatever part of the request it repeats, wherever it writes it, and whoever the endpoints are."""
    request = RequestSpec(
        method="GET",
        authority="web-0.shop.svc:8080",
        path="/pods/web-1?x=198.18.2.2",
        headers=(("X-From", "node-7"), ("web-2", "198.18.2.3")),
        nonce="kbff01",
    )
    known = facts(*(f"web-{n}" for n in range(endpoints))) if endpoints else NOBODY_KNOWN
    dialled = [e.name for e in known.endpoints] if direct and endpoints else [None]
    samples = [
        sample(name, len(dialled) * turn + n, shape[0].format(words), body=shape[1].format(*[words] * 3))
        for turn, words in enumerate(said * 3)
        for n, name in enumerate(dialled)
    ]

    assert calibrate(samples, known, request).identifier is None
