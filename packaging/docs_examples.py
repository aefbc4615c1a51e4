"""For the site alone: a docstring's ``Example:`` is a session to be shown as code, as griffe reads ``Examples:``."""

from typing import Any

import griffe


class ExamplesAreCode(griffe.Extension):
    """Renames the section before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a package, class or function."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
