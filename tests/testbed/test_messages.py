import h11
from hypothesis import given
from hypothesis import strategies as st

from kbalance.testbed.messages import RequestReader

STREAM = (
    b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /c HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    b"HEAD /d HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
)


def _as_h11_reads_it() -> list[tuple[bytes, bytes, bytes]]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(STREAM)
    requests: list[tuple[bytes, bytes, bytes]] = []
    while len(requests) < 4 or connection.their_state is h11.SEND_BODY:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            requests.append((event.method, event.target, b""))
        elif isinstance(event, h11.Data):
            method, target, body = requests[-1]
            requests[-1] = (method, target, body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and connection.our_state is h11.SEND_RESPONSE:
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            if connection.their_state is h11.DONE:
                connection.start_next_cycle()
    return requests


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_requests_are_those_that_h11_reads_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    reader, requests, start = RequestReader(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        requests += reader.feed(STREAM[start:cut])
        start = cut

    assert [(r.method.encode(), r.target.encode(), r.body) for r in requests] == _as_h11_reads_it()
    assert [r.keep_alive for r in requests] == [True, True, True, False]


@given(st.binary(max_size=200))
def test_no_bytes_are_an_exception(data: bytes) -> None:
    reader = RequestReader()
    reader.feed(data)
    reader.feed(b"\r\n\r\n")
