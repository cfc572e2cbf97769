"""What every test gets: the contracts' assertions explained as if they stood here."""

import pytest

pytest.register_assert_rewrite("bleen.testing.routers", "bleen.testing.proxies", "bleen.testing.platforms")
