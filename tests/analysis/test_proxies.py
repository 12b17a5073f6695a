import pytest

from kbalance.analysis.proxies import proxy_signs


def head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines)).encode()


POD = head("Content-Type: text/plain", "X-Pod-Name: web-1", "Content-Length: 5")


@pytest.mark.parametrize(
    ("direct", "through", "expected"),
    [
        (POD, POD, ()),
        (POD, head("Content-Type: text/plain", "X-Pod-Name: web-1", "Via: 1.1 edge"), ("via: 1.1 edge",)),
        (POD, head("content-type: text/plain", "x-pod-name: web-1"), ("header names in lower case",)),
        (POD, head("Content-Type: text/plain", "X-Pod-Name: web-1", "Set-Cookie: route=abc"), ("set-cookie",)),
        (head("Server: app"), head("Server: envoy"), ("server: envoy instead of app",)),
        (head("server: app"), head("server: app"), ()),
        (POD, head("Content-Type: text/plain", "X-Pod-Name: web-1", "Connection: close", "Transfer-Encoding: chunked"), ()),
    ],
    ids=["the same", "added", "lower case", "a cookie's value is kept", "replaced", "the pod writes lower case", "hop by hop"],
)
def test_what_only_answers_through_the_target_carry(direct: bytes, through: bytes, expected: tuple[str, ...]) -> None:
    assert proxy_signs([direct] * 3, [through] * 3) == expected


def test_a_header_that_comes_and_goes_is_no_sign() -> None:
    marked = head("Content-Type: text/plain", "X-Pod-Name: web-1", "Via: 1.1 edge")

    assert proxy_signs([POD] * 3, [marked, POD, marked]) == ()
    assert proxy_signs([POD, marked], [marked] * 3) == ()


def test_one_answer_of_a_kind_shows_nothing() -> None:
    assert proxy_signs([POD], [head("Via: x")] * 3) == proxy_signs([POD] * 3, [head("Via: x")]) == ()
