"""Which places of a response are looked at, in which order."""

import re
from dataclasses import dataclass

from kbalance.analysis.identity import extract, json_body
from kbalance.analysis.identity.extract import Extractor, Family
from kbalance.analysis.identity.sample import Part, Sample
from kbalance.errors import TargetError

_HEADERS = (
    "x-pod-name",
    "x-pod",
    "x-hostname",
    "x-served-by",
    "x-backend-server",
    "x-backend",
    "x-server-name",
    "x-instance",
)
_POINTERS = ("/os/hostname", "/environment/HOSTNAME", "/pod", "/hostname")
"""Of mendhak http-https-echo, ealen echo-server, echo-basic, and podinfo: the first two also have another ``hostname``,
which is the request's host, so the bare one comes last."""

WELL_KNOWN = {
    source: order
    for order, source in enumerate(
        (
            *(f"header {name}" for name in _HEADERS),
            *(f"json {pointer.lower()}" for pointer in _POINTERS),
            *(f"line {name.lower()}" for name, _ in extract.LINES),
            "body",
        )
    )
}
"""Sources, in lower case, that need no calibration to be worth a try, and their order."""

_GRPC = "grpc-"
"""How the names of gRPC's own fields begin (grpc-status, grpc-encoding, ...), which are about the call."""

_MOST_FIELDS = 64
"""Fields of a JSON body that are tried, well-known ones first: each costs one parse per answer."""

_PREFERENCE = {family: order for order, family in enumerate(Family)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What is looked at."""

    whole: tuple[Extractor, ...]
    """Places whose whole text may be a name, best first."""
    texts: tuple[Extractor, ...]
    """Longer texts in which a known name may stand as a word."""


def well_known(extractor: Extractor) -> bool:
    """Whether servers in the wild use this place to tell who they are."""
    return extractor.source.lower() in WELL_KNOWN


def found_in(sample: Sample, nonce: str) -> Candidates:
    """Every place of one answer that holds a value."""
    headers = tuple(extract.header(name) for name in extract.header_names(sample.head) if not name.lower().startswith(_GRPC))
    fields = [json_body.json_pointer(pointer) for pointer in json_body.json_pointers(sample.body, nonce)]
    fields = sorted(fields, key=_order)[:_MOST_FIELDS]
    lines = [extract.line(name, pattern, nonce) for name, pattern in extract.LINES]
    present = [e for e in (*headers, *fields, *lines, extract.body()) if e.extract(sample.raw(e.part)) is not None]
    return Candidates(whole=tuple(sorted(present, key=_order)), texts=(*headers, extract.text(nonce)))


def _order(extractor: Extractor) -> tuple[int, int]:
    return _PREFERENCE[extractor.family], WELL_KNOWN.get(extractor.source.lower(), len(WELL_KNOWN))


def parse_spec(spec: str, nonce: str = "") -> Candidates | None:
    """What the user's ``--identity`` names; ``None`` for ``auto``.

    Args:
        spec: ``auto``, ``body``, ``header:NAME``, ``json:/POINTER`` or ``regex:RE``.
        nonce: of the request; words are looked for only above its echo.

    Raises:
        TargetError: when it is none of these.
    """
    kind, _, rest = spec.partition(":")
    match kind:
        case "auto" if not rest:
            return None
        case "body" if not rest:
            return Candidates(whole=(extract.body(),), texts=(extract.text(nonce),))
        case "header" if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", rest):
            places: tuple[Extractor, ...] = (extract.header(rest),)
        case "json" if rest:
            places = (json_body.json_pointer(rest),)
        case "regex" if rest:
            places = (extract.regex(rest, Part.BODY), extract.regex(rest, Part.HEAD))
        case _:
            raise TargetError(f"--identity {spec!r} is none of auto, body, header:NAME, json:/POINTER and regex:RE.")
    return Candidates(whole=places, texts=places)
