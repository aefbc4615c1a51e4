"""Records of real answers: their files, how they are collected, and which of them something was made from."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
