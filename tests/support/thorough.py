"""The number of examples of a property: 1,000 in CI, 100 elsewhere."""

import os

from hypothesis import HealthCheck, settings

thorough = settings(
    max_examples=1_000 if os.environ.get("CI") == "true" else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
