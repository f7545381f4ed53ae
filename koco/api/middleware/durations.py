"""How long answers take, counted in buckets as Prometheus' histograms have them."""

from bisect import bisect_left

#: Upper bounds of the histogram's buckets (seconds). Launches take a few milliseconds, requests
#: that wait up to a minute.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Durations:
    """How long answers took to begin: how many fell into each bucket, and their sum (seconds)."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum_s = 0.0

    def add(self, taken_s: float) -> None:
        """Count an answer."""
        self.counts[bisect_left(BUCKETS, taken_s)] += 1
        self.sum_s += taken_s
