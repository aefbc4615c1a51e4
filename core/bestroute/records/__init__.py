"""Records of real answers: file formats, collection, import of logs, and tracking of what was trained on them."""

from bestroute._utils.moved import names_that_stood_in

__getattr__ = names_that_stood_in(__name__)
