"""What errors mean for a call: the table of rules, errors with paid replies, and options that a server rejects."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
