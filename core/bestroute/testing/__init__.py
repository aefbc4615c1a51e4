"""Fakes and a loopback server, for our tests and for yours."""

from bestroute.testing.fakes import FakeGenerator, FakeReward, FakeRouter

__all__ = ["FakeGenerator", "FakeReward", "FakeRouter"]
