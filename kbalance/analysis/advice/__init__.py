"""What to change, what that did in this run or would do, and what it costs; best first for this Service.

Each room holds makers, `Case -> Recommendation | None`, for one place where a change can be made; `ways` says which cause leads
to which, `ranking` in which order. The texts to paste are in `kbalance.analysis.artifacts`.
"""

from kbalance.analysis.advice.capacity import forecasts
from kbalance.analysis.advice.settings import setting_of
from kbalance.analysis.advice.ways import WAYS_OUT, recommend

__all__ = ["WAYS_OUT", "forecasts", "recommend", "setting_of"]
