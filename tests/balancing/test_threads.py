"""The blocking transport beside stock httpx: the asynchronous one's tests once more, and what only a thread meets."""

import pytest

from kbalance.balancing import PoolTransport
from tests.balancing import clients
from tests.balancing.clients import Threaded
from tests.balancing.test_corpus import (  # noqa: F401
    server,
    test_odd_responses_look_the_same,
    test_where_we_differ_the_transport_is_our_reader,
)
from tests.balancing.test_transport import (  # noqa: F401
    _nothing_left_behind,
    test_a_body_from_a_generator,
    test_a_body_goes_out_byte_for_byte_as_from_httpx,
    test_a_body_that_is_not_as_long_as_announced_is_refused,
    test_a_body_that_stops_in_the_middle,
    test_a_body_whose_maker_fails,
    test_a_broken_exchange,
    test_a_certificate_that_proves_nothing_is_a_connect_error,
    test_a_handshake_that_does_not_go_on,
    test_a_header_smuggled_inside_another_is_refused_after_the_same_bytes_were_sent_openly,
    test_a_large_body_from_a_generator,
    test_a_name_of_this_host,
    test_a_request_goes_out_byte_for_byte_as_from_httpx,
    test_a_request_that_ends_its_connection,
    test_a_request_under_which_an_idle_connection_closes_is_sent_again,
    test_a_response_looks_the_same_and_the_connection_is_kept,
    test_a_response_may_be_read_while_it_comes,
    test_a_response_that_ends_its_connection,
    test_a_silent_server,
    test_a_silent_server_looks_the_same_to_httpx,
    test_a_stream_that_is_left_early_ends_its_connection,
    test_a_streamed_response_in_raw_bytes_decoded_bytes_and_lines,
    test_a_tunnel_another_scheme_and_a_synchronous_body_are_refused,
    test_an_early_answer_to_a_large_body,
    test_an_early_answer_to_an_endless_body,
    test_bytes_that_were_asked_to_be_chunked_are_not_counted_too,
    test_files_of_a_form,
    test_head_looks_the_same_and_the_connection_is_kept,
    test_it_is_sent_again_once,
    test_nobody_listens,
    test_the_client_s_own_work_goes_on_as_before,
    test_time_that_passes_between_exchanges_is_nobody_s_timeout,
    test_what_may_have_been_done_or_cannot_be_repeated_is_not_sent_again,
    test_what_would_break_out_of_its_place_is_refused,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "made", lambda **options: Threaded(PoolTransport(**options)))
