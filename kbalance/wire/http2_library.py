"""The `h2` library as `http2` uses it: a client's side that checks no fields, since `http2_fields` does.

That is faster, and a mistake in a field breaks one stream rather than the connection.
"""

import contextlib

from h2.config import DummyLogger, H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, H2Error
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.exceptions import HyperframeError

from kbalance.wire.http2_frames import Frame, Violation, encoded_fields

DEFAULT_WINDOW = 65_535


class Library(H2Connection):
    """Knows streams, windows and compression; gets whole frames, of streams that are open only."""

    MAX_CLOSED_STREAMS = 0
    """It sees no frames of such streams; by default it remembers 65,536 of them."""

    def __init__(self, max_head: int, window: int, connection_window: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=True,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                logger=_Silent(__name__),
            )
        )
        self.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: window,
                SettingCodes.MAX_HEADER_LIST_SIZE: max_head,
            },
        )
        del self.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # it is the server's to send (RFC 8441, 3)
        self.decoder.max_header_list_size = max_head
        self.initiate_connection()
        if connection_window > DEFAULT_WINDOW:
            self.increment_flow_control_window(connection_window - DEFAULT_WINDOW)

    def give_up(self, stream: int, code: ErrorCodes) -> None:
        """Resets a stream, unless it is over for both sides."""
        if not self.streams[stream].closed:
            self.reset_stream(stream, code)

    def release(self, stream: int, amount: int) -> None:
        """These bytes need no room any more: windows open, once it is worth a frame."""
        with contextlib.suppress(H2Error):  # of a connection that a mistake has ended
            self.acknowledge_received_data(amount, stream)

    def keep_in_step(self, head: Frame) -> None:
        """Decodes fields that nobody waits for, since those of later heads refer to them (RFC 9113, 4.3).

        Raises:
            Violation, DenialOfServiceError: when they cannot be decoded, or are too large.
        """
        try:
            self.decoder.decode(encoded_fields(head), raw=True)
        except OversizedHeaderListError as error:
            raise DenialOfServiceError from error
        except (HPACKError, HyperframeError) as error:
            raise Violation(ErrorCodes.COMPRESSION_ERROR, f"header fields that cannot be decoded: {error}") from error


class _Silent(DummyLogger):
    """Sixteen calls a request, each of which would ask `logging` whether anyone listens."""

    def debug(self, *args: object, **kwargs: object) -> None:
        pass

    def trace(self, *args: object, **kwargs: object) -> None:
        pass


def name_of(code: int) -> str:
    """An error code in words."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"
