"""Fakes, synthetic records and a loopback server, for this library's tests and for users' tests."""

from bestroute.testing.fakes import FakeGenerator, FakeReward, FakeRouter
from bestroute.testing.judged_answers import JudgedAnswers
from bestroute.testing.server import Bill, LoopbackServer
from bestroute.testing.synthetic_logs import write_log
from bestroute.testing.synthetic_records import synthetic_pool, synthetic_records

__all__ = [
    "Bill",
    "FakeGenerator",
    "FakeReward",
    "FakeRouter",
    "JudgedAnswers",
    "LoopbackServer",
    "synthetic_pool",
    "synthetic_records",
    "write_log",
]
