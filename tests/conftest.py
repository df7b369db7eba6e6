"""What all tests share: where the repository is, and that tests for a GPU are left out where there is none."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.support.backends")

# jobs in a shell's background ignore Ctrl-C, and so would every process that they start
signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples in every run; `--hypothesis-profile=default` looks for new ones
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent


def pytest_runtest_setup(item: pytest.Item) -> None:
    assert sys.exc_info()[1] is None, "the test before left an exception that all later ones would have for a context"
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")
