"""How many examples the tests take that look for the one odd value: all of them in CI, a few elsewhere."""

import os

from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"


def examples(in_ci: int) -> settings:
    """Settings for so many examples in CI, however long each takes."""
    return settings(
        max_examples=in_ci if IN_CI else 300,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


thorough = examples(10_000)
