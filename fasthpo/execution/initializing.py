"""What is called wherever trials run, before the first of them: `optimize(..., initializer=, initargs=)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fasthpo.errors import InvalidValue, WorkersFailed


class Initializer(NamedTuple):
    """A function of the user's and its arguments."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, function: Any, arguments: Any) -> Initializer | None:
        """What the arguments of `optimize` say; None for no initializer.

        Raises:
            InvalidValue: one is wrong.
        """
        if isinstance(arguments, (str, bytes)) or not isinstance(arguments, Iterable):
            raise InvalidValue(f"initargs must be a tuple of arguments for the initializer, got initargs={arguments!r}")
        given = tuple(arguments)
        if function is None:
            if given:
                raise InvalidValue(f"initargs need an initializer=, a function to call with them, got initargs={given}")
            return None
        if not callable(function):
            raise InvalidValue(f"initializer must be a function, got initializer={function!r}")
        return cls(function, given)

    def call(self) -> None:
        """Call it in the process of the run.

        Raises:
            WorkersFailed: it fails.
        """
        try:
            self.function(*self.arguments)
        except (Exception, SystemExit) as error:
            raise WorkersFailed(f"the initializer has failed: {type(error).__name__}: {error}") from error
