"""Fakes, synthetic records and a loopback server, for our tests and for yours."""

from bestroute.testing.fakes import FakeGenerator, FakeReward, FakeRouter
from bestroute.testing.records import synthetic_pool, synthetic_records
from bestroute.testing.server import Bill, LoopbackServer

__all__ = [
    "Bill",
    "FakeGenerator",
    "FakeReward",
    "FakeRouter",
    "LoopbackServer",
    "synthetic_pool",
    "synthetic_records",
]
