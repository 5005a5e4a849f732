"""`Image`: a picture for the model, by address or as data. Making one reads no file and no network."""

from __future__ import annotations

import base64
import importlib
import io
import mimetypes
import os
import sys
import warnings
from typing import Any, cast
from urllib.parse import urlparse

import pydantic

from .base import Type
from .download import download, is_http_url

__all__ = ["Image", "encode_image", "is_image", "is_url"]

_UNSET: Any = object()


class Image(Type):
    """An image, kept as one text: its http(s) or gs address, or a data URI."""

    url: str

    model_config = pydantic.ConfigDict(
        frozen=True, str_strip_whitespace=True, validate_assignment=True, extra="forbid"
    )

    def __init__(self, source: Any = None, /, *, download: Any = _UNSET, verify: Any = _UNSET, **data: Any) -> None:
        """Make an image of an address, a data URI, raw bytes or a PIL image (both need Pillow), or `{"url": ...}`.

        `download` and `verify` are dspy's, deprecated: `download=True` fetches an http(s) address now. They count only
        beside a positional source, so that a model's answer can never cause a request.

        Raises:
            ValueError: a text that is no address (use `from_path` for a file), an unknown kind of source, or bytes that
                are no image.
            TypeError: two sources, or `download`/`verify` without a positional source.
            ImportError: bytes, and Pillow is not installed.
        """
        fetch = download is not _UNSET
        if (fetch or verify is not _UNSET) and source is None:
            raise TypeError(
                "`download` and `verify` are only valid with a positional image source; "
                "use Image.from_url(url, verify=...) to download a remote image."
            )
        if fetch or verify is not _UNSET:
            warnings.warn(
                "The `download` and `verify` arguments to Image() are deprecated and will be removed in "
                "3.4. Use Image.from_url(url, verify=...) to download a remote image, or "
                "Image.from_path(path) for a local file.",
                DeprecationWarning,
                stacklevel=2,
            )
        if source is not None:
            if "url" in data:
                raise TypeError("Image received both `source` and `url`; provide only one image source")
            wrapped = isinstance(source, dict) and set(cast("dict[Any, Any]", source)) == {"url"}
            data["url"] = source["url"] if wrapped else source
        url = data.get("url")
        if fetch and download and isinstance(url, str) and is_http_url(url):
            data["url"] = _downloaded(url, verify=True if verify is _UNSET else verify, timeout=30.0)
        elif "url" in data:
            data["url"] = encode_image(url)
        super().__init__(**data)

    def format(self) -> list[dict[str, Any]]:
        """One `image_url` part."""
        try:
            url = encode_image(self.url)
        except Exception as error:
            raise ValueError(f"Failed to format image for DSPy: {error}") from error
        return [{"type": "image_url", "image_url": {"url": url}}]

    @classmethod
    def from_url(cls, url: str, verify: bool = True, timeout: float | None = 30.0) -> Image:
        """Download an image and keep it as a data URI. Blocks; `timeout` in seconds, None for none.

        The request goes wherever the address says, private networks and redirects included: check addresses that come
        from outside before you pass them on.

        Raises:
            ValueError: not an http(s) address, or the kind of data cannot be told.
            httpx.HTTPError: the download failed.
        """
        if not is_http_url(url):
            raise ValueError(f"Image.from_url requires an HTTP(S) URL, received: {url}")
        return cls(_downloaded(url, verify=verify, timeout=timeout))

    @classmethod
    def from_path(cls, file_path: str) -> Image:
        """Read a file and keep it as a data URI. Raises ValueError if it is missing or its name tells no kind."""
        if not os.path.isfile(file_path):
            raise ValueError(f"File not found: {file_path}")
        with open(file_path, "rb") as file:
            content = file.read()
        kind = mimetypes.guess_type(file_path)[0]
        if kind is None:
            raise ValueError(f"Could not determine MIME type for file: {file_path}")
        return cls(_data_uri(kind, content))

    @classmethod
    def from_file(cls, file_path: str) -> Image:
        """Deprecated name of `from_path`."""
        warnings.warn(
            "Image.from_file is deprecated and will be removed in 3.4; use Image.from_path instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls.from_path(file_path)

    @classmethod
    def from_PIL(cls, pil_image: Any) -> Image:
        """Deprecated: pass the PIL image to `Image` itself."""
        warnings.warn(
            "Image.from_PIL is deprecated and will be removed in 3.4; use Image(pil_image) instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls(pil_image)

    def __str__(self) -> str:
        return cast("str", self.serialize_model())

    def __repr__(self) -> str:
        if "base64" in self.url:
            size = len(self.url.split("base64,")[1])
            kind = self.url.split(";")[0].split("/")[-1]
            return f"Image(url=data:image/{kind};base64,<IMAGE_BASE_64_ENCODED({size})>)"
        return f"Image(url='{self.url}')"


def is_url(string: str) -> bool:
    """Whether a text is an address that a provider can fetch: http, https or gs."""
    try:
        parsed = urlparse(string)
    except ValueError:
        return False
    return parsed.scheme in ("http", "https", "gs") and bool(parsed.netloc)


def is_image(obj: object) -> bool:
    """Whether `obj` is a PIL image, an address or a data URI."""
    return _is_pil_image(obj) or (isinstance(obj, str) and (obj.startswith("data:") or is_url(obj)))


def encode_image(image: Any) -> str:
    """The data URI or address of anything `Image` takes. Raises as `Image` does."""
    if isinstance(image, dict):
        given = cast("dict[str, Any]", image)
        if "url" in given:
            return encode_image(given["url"])
        raise ValueError(f"Unsupported image type: {dict}")
    if isinstance(image, str):
        if image.startswith("data:") or is_url(image):
            return image
        raise ValueError(f"Unrecognized image string: {image}. Local files must be loaded with Image.from_path().")
    if _is_pil_image(image):
        return _encoded_pil_image(image)
    if isinstance(image, bytes):
        return _encoded_pil_image(_opened(image))
    if isinstance(image, Image):
        return image.url
    raise ValueError(f"Unsupported image type: {type(image)}")


def _is_pil_image(value: object) -> bool:
    pillow: Any = sys.modules.get("PIL.Image")  # without the module there is no such object
    return pillow is not None and isinstance(value, pillow.Image)


def _opened(content: bytes) -> Any:
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("Pillow is required to process image bytes.") from error
    try:
        return pillow.open(io.BytesIO(content))
    except pillow.UnidentifiedImageError as error:
        raise ValueError(f"Bytes could not be identified as an image: {error}") from error


def _encoded_pil_image(image: Any) -> str:
    kind: str = image.format or "PNG"
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    mime_type = mimetypes.guess_type(f"file.{kind.lower()}")[0]
    if mime_type is None:
        raise ValueError(f"Could not determine MIME type for image format: {kind}")
    return _data_uri(mime_type, buffer.getvalue())


def _downloaded(url: str, *, verify: bool, timeout: float | None) -> str:
    content, kind = download(url, verify=verify, timeout=timeout)
    kind = kind or mimetypes.guess_type(url)[0] or ""
    if not kind:
        raise ValueError(f"Could not determine MIME type for URL: {url}")
    return _data_uri(kind, content)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
