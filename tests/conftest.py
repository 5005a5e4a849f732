"""Every async test runs on asyncio and on trio, and none reads or leaves an answer in anybody's cache."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from dspex.engine.caching import Cache, set_current_cache

# Before anything reads it, here or in a process that a test starts.
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="dspex-tests-cache-")
atexit.register(shutil.rmtree, os.environ["DSPY_CACHEDIR"], ignore_errors=True)


@pytest.fixture(params=[pytest.param("asyncio", id="asyncio"), pytest.param("trio", id="trio")])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def nothing_is_cached() -> Iterator[None]:
    """Tests count requests; those of the cache itself make one of their own."""
    set_current_cache(Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None))
    yield
    set_current_cache(None)
