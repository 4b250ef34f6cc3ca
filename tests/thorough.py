"""How many examples the tests take that look for the one odd value: all of them in CI, a few elsewhere."""

import os

from hypothesis import HealthCheck, settings

thorough = settings(
    max_examples=10_000 if os.environ.get("CI") == "true" else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
