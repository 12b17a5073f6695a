"""Latencies as counts in log-linear buckets, so that memory does not grow with requests.

A bucket is an ``int``; a histogram is a mapping of bucket to count, which merges by addition. Values below 64 us have a bucket
each; above, every power of two is cut into 32 buckets, so a value is known to within 1/32 (3.1 %), as in HdrHistogram with
two significant figures.
"""

from collections.abc import Mapping

Histogram = Mapping[int, int]
"""Bucket to count."""


def bucket(us: int) -> int:
    """The bucket of a latency in whole microseconds; negative ones (a clock that was set back) count as 0."""
    if us < 64:
        return max(us, 0)
    shift = us.bit_length() - 6
    return (shift << 5) + (us >> shift)


def upper_us(index: int) -> int:
    """The largest whole number of microseconds that falls into a bucket."""
    if index < 64:
        return index
    shift = (index >> 5) - 1
    return ((((index & 31) | 32) + 1) << shift) - 1


def quantile_us(histogram: Histogram, q: float) -> int | None:
    """The upper edge of the bucket that holds the q-quantile (nearest rank); ``None`` when empty."""
    total = sum(histogram.values())
    rank = max(1, -int(-q * total // 1))
    for index in sorted(histogram):
        rank -= histogram[index]
        if rank <= 0:
            return upper_us(index)
    return None
