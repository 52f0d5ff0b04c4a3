"""Makes the fixtures of tests/support available to the tests of every package."""

pytest_plugins = ["tests.support.fixtures"]
