"""Fetching a file that a program names. Only the `from_url` constructors do, and only when they are called."""

from __future__ import annotations

from urllib.parse import urlparse

__all__ = ["download", "is_http_url"]


def is_http_url(string: str) -> bool:
    """Whether a text is an http or https address with a host."""
    try:
        parsed = urlparse(string)
    except ValueError:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.netloc)


def download(url: str, *, verify: bool, timeout: float | None) -> tuple[bytes, str]:
    """The content behind an address and its declared type ("" if none). Follows redirects; blocks.

    Raises:
        httpx.HTTPError: no answer within `timeout` seconds, or an answer of 4xx or 5xx.
    """
    import httpx  # 50 ms, which a program that downloads nothing does not pay

    response = httpx.get(url, verify=verify, timeout=timeout, follow_redirects=True)
    response.raise_for_status()
    return response.content, response.headers.get("Content-Type", "")
