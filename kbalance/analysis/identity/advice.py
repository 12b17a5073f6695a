"""Which paths may be asked for an identity, and what to tell a user whose pods have none."""

from collections.abc import Sequence

from kbalance.model.target import Target
from kbalance.model.words import TargetKind

WHITELIST_PATHS = ("/hostname", "/api/info", "/debug")
"""Of agnhost, podinfo and fortio, by how little they cost. No other path is ever asked unless the user names it:
agnhost exits on GET /exit and /shutdown, podinfo on GET /panic."""

GRPC_PATHS = ("/info.InfoService/Info",)
"""Of podinfo; the same for calls of gRPC, where the health check is asked first. What podinfo offers as PanicService ends it."""

_WIDTH = 100

_MANIFEST = """\
    spec:
      containers:
        - name: app
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
"""

_SNIPPETS = """\
    nginx           add_header X-Pod-Name $hostname always;
    Python (WSGI)   start_response(status, [*headers, ("X-Pod-Name", os.environ["POD_NAME"])])
    Go              w.Header().Set("X-Pod-Name", os.Getenv("POD_NAME"))
"""

_GRPC_SNIPPETS = """\
    Go              grpc.SetHeader(ctx, metadata.Pairs("x-pod-name", os.Getenv("POD_NAME")))
    Java            headers.put(Metadata.Key.of("x-pod-name", ASCII_STRING_MARSHALLER), System.getenv("POD_NAME"));
    Python          context.send_initial_metadata((("x-pod-name", os.environ["POD_NAME"]),))
    Node            metadata.set('x-pod-name', process.env.POD_NAME); call.sendMetadata(metadata)
"""

_GRPC_EXAMPLES = """\
    --grpc-method shop.Cart/WhoAmI        a call whose answer has the name in it
    --identity header:x-pod-name          a field of the response's metadata or trailers
    --identity json:/1                    the field with number 1 of the message
    --identity 'regex:served by (\\S+)'    the first group of a pattern
"""

_EXAMPLES = """\
    --identity header:X-Pod-Name          a response header
    --identity json:/os/hostname          a field of a JSON body
    --identity 'regex:served by (\\S+)'    the first group of a pattern
    --identity body --path /hostname      a whole body, from a path of your choice
"""


def paths_to_try(target: Target, method: str = "GET", *, grpc: bool = False) -> tuple[str, ...]:
    """The paths that may be asked for an identity, in order, each once; the user's own comes first.

    Args:
        target: only its own path is asked when the user chose one.
        method: of the request; other paths are only ever asked with GET.
    """
    if target.path_given or method != "GET":
        return (target.path,)
    return (target.path, *(path for path in (GRPC_PATHS if grpc else WHITELIST_PATHS) if path != target.path))


def help_page(rejected: Sequence[str], target: Target, *, grpc: bool = False) -> str:
    """What was looked at for an identity, why nothing was believed, and how to get one; at most 100 columns wide.

    Args:
        rejected: why each place was not believed, as in `Calibration.reasons`.
        grpc: whether calls of gRPC were made.
    """
    lines = [
        *_wrapped(f"Nothing in the answers of {_spoken(target)} tells which pod gave them.", "", ""),
        "",
        "What was looked at:",
        *(part for reason in rejected for part in _wrapped(f"{reason}.", "  - ", "    ")),
        "",
        "The surest way is one field of the response's metadata with the Pod's name. Hand the name to the container:"
        if grpc
        else "The surest way is one response header with the Pod's name. Hand the name to the container:",
        "",
        _MANIFEST,
        "and send it with every answer:",
        "",
        _GRPC_SNIPPETS if grpc else _SNIPPETS,
        "If the answers do tell it, say where:",
        "",
        (_GRPC_EXAMPLES if grpc else _EXAMPLES).rstrip("\n"),
    ]
    return "\n".join(lines) + "\n"


def _spoken(target: Target) -> str:
    if target.kind is TargetKind.SERVICE:
        return f"Service {target.namespace}/{target.name} on {target.path}"
    return target.url


def _wrapped(text: str, first: str, later: str) -> list[str]:
    import textwrap  # this page is rare, and starting the program is not

    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
