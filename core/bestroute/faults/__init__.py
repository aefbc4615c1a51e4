"""What an error means for a call: a table of rules, replies that it was paid for, options that a server refuses."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
