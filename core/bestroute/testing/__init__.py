"""Fakes and a loopback server, for our tests and for yours."""

from bestroute.testing.fakes import FakeGenerator, FakeReward, FakeRouter
from bestroute.testing.server import Bill, LoopbackServer

__all__ = ["Bill", "FakeGenerator", "FakeReward", "FakeRouter", "LoopbackServer"]
