"""Which pod answered, told from a response's head or body; a value counts only when checked against something known.

Asking (which path, how often) and remembering answers are the caller's.
"""

from kbalance.analysis.identity.advice import WHITELIST_PATHS, help_page, paths_to_try
from kbalance.analysis.identity.calibration import Calibration, calibrate, contradicts
from kbalance.analysis.identity.candidates import parse_spec
from kbalance.analysis.identity.extract import Extractor, Family
from kbalance.analysis.identity.identifier import Identifier
from kbalance.analysis.identity.known import listed
from kbalance.analysis.identity.sample import Part, Sample

__all__ = [
    "WHITELIST_PATHS",
    "Calibration",
    "Extractor",
    "Family",
    "Identifier",
    "Part",
    "Sample",
    "calibrate",
    "contradicts",
    "help_page",
    "listed",
    "parse_spec",
    "paths_to_try",
]
