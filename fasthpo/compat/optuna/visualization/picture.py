"""A figure of Matplotlib's with the methods that scripts call on one of Plotly's."""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from fasthpo.compat.optuna.logging import get_logger


class Picture:
    """A picture of a study.

    Args:
        figure: of Matplotlib's; also the attribute `figure`, whose methods are this one's, too.
    """

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["figure"], name)

    def show(self, *others: Any, **options: Any) -> None:
        """Show it in a notebook; elsewhere it is written to a file, which the log names."""
        display = getattr(sys.modules.get("IPython"), "display", None)
        if display is not None and sys.modules["IPython"].get_ipython() is not None:
            display.display(self.figure)
            return
        with tempfile.NamedTemporaryFile(suffix=".png", prefix="fasthpo-", delete=False) as file:
            file.write(self._png())
        get_logger().info("The picture is in %s", file.name)

    def write_image(self, file: str | Path, *others: Any, **options: Any) -> None:
        """Write it to a file, whose name says in which format."""
        self.figure.savefig(file)

    def write_html(self, file: str | Path, *others: Any, **options: Any) -> None:
        """Write a page that shows it."""
        Path(file).write_text(self.to_html(), encoding="utf-8")

    def to_html(self, *others: Any, **options: Any) -> str:
        """A page that shows it."""
        text = base64.b64encode(self._png()).decode()
        return f'<!doctype html><meta charset="utf-8"><img alt="" src="data:image/png;base64,{text}">\n'

    def update_layout(self, *others: Any, **options: Any) -> Picture:
        """The picture itself, as it is: it has no layout of Plotly's."""
        return self

    def _png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._png()
