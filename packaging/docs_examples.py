"""For the site alone: sessions in docstrings are shown as code. griffe reads them under ``Examples:``, indented."""

import textwrap
from typing import Any

import griffe


class ExamplesAreCode(griffe.Extension):
    """Renames, or adds, the section before a docstring is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a package, class or function."""
        if obj.docstring is not None:
            text = obj.docstring.value.replace("Example:\n", "Examples:\n")
            before, mark, session = text.partition("\n\n>>> ")
            obj.docstring.value = (
                f"{before}\n\nExamples:\n{textwrap.indent('>>> ' + session, '    ')}" if mark else text
            )
