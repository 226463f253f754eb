"""By way of sandboxd everything is as it is without: the same tests."""

from tests.sandbox.test_conformance import *  # noqa: F403
from tests.sandbox.test_shown import *  # noqa: F403
