"""How the guide's reference reads our docstrings: their `Example:` is what Griffe knows as `Examples:`."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Has examples shown as code with their output, not as a remark."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
