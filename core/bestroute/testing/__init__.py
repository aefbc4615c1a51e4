"""Fakes, synthetic records and a loopback server, for our tests and for yours."""

from bestroute.testing.fakes import FakeGenerator, FakeReward, FakeRouter
from bestroute.testing.server import Bill, LoopbackServer
from bestroute.testing.synthetic_records import synthetic_pool, synthetic_records

__all__ = [
    "Bill",
    "FakeGenerator",
    "FakeReward",
    "FakeRouter",
    "LoopbackServer",
    "synthetic_pool",
    "synthetic_records",
]
