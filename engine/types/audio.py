"""`Audio`: a recording for the model, as data. Making one reads no file and no network."""

from __future__ import annotations

import base64
import importlib
import io
import mimetypes
import os
import warnings
from typing import Any, cast

import pydantic

from .base import Type
from .download import download, is_http_url

__all__ = ["Audio", "encode_audio"]


class Audio(Type):
    """A recording: base64 data and its format, such as "wav" or "mp3"."""

    data: str
    audio_format: str

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    def __init__(self, *args: Any, **data: Any) -> None:
        """Make a recording of a data URI, raw bytes, an array (needs soundfile), `{"data", "audio_format"}` or an
        `Audio`; or of `data=` (base64) and `audio_format=`.

        `audio_format=` says what bytes and arrays are (default "wav"), `sampling_rate=` belongs to an array (Hz,
        default 16,000).

        Raises:
            TypeError: more than one source, or an option that does not go with the source.
            ValueError: a text that is no data URI, or an unknown kind of source.
        """
        if len(args) > 1:
            raise TypeError(f"Audio expected at most 1 positional argument, received {len(args)}")
        if args:
            if "data" in data:
                raise TypeError("Audio received data as both a positional and keyword argument")
            source = args[0]
            sampling_rate = data.pop("sampling_rate", None)
            audio_format = data.pop("audio_format", None)
            if audio_format is not None and _has_own_format(source):
                raise TypeError(
                    "Audio received audio_format alongside an input that already carries its format; provide only one"
                )
            if sampling_rate is not None and not hasattr(source, "shape"):
                raise TypeError("Audio received sampling_rate for a non-array input; it only applies to array data")
            made = encode_audio(source, sampling_rate=sampling_rate or 16000, format=audio_format or "wav")
            data = {**made, **data}
        super().__init__(**data)

    def format(self) -> list[dict[str, Any]]:
        """One `input_audio` part."""
        return [{"type": "input_audio", "input_audio": {"data": self.data, "format": self.audio_format}}]

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, values: Any) -> Any:
        """Accepts what the constructor accepts."""
        if isinstance(values, cls):
            return {"data": values.data, "audio_format": values.audio_format}
        return encode_audio(values)

    @classmethod
    def from_url(cls, url: str, verify: bool = True, timeout: float | None = 30.0) -> Audio:
        """Download a recording. Blocks; `timeout` in seconds, None for none. See `Image.from_url` for what to check.

        Raises:
            ValueError: not an http(s) address, or what came is not audio.
            httpx.HTTPError: the download failed.
        """
        if not is_http_url(url):
            raise ValueError(f"Audio.from_url requires an HTTP(S) URL, received: {url}")
        content, kind = download(url, verify=verify, timeout=timeout)
        return cls(data=_base64(content), audio_format=_audio_format(kind or "audio/wav"))

    @classmethod
    def from_path(cls, file_path: str) -> Audio:
        """Read a file. Raises ValueError if it is missing or its name does not say audio."""
        if not os.path.isfile(file_path):
            raise ValueError(f"File not found: {file_path}")
        audio_format = _audio_format(mimetypes.guess_type(file_path)[0])
        with open(file_path, "rb") as file:
            return cls(data=_base64(file.read()), audio_format=audio_format)

    @classmethod
    def from_file(cls, file_path: str) -> Audio:
        """Deprecated name of `from_path`."""
        warnings.warn(
            "Audio.from_file is deprecated and will be removed in 3.4; use Audio.from_path instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls.from_path(file_path)

    @classmethod
    def from_array(cls, array: Any, sampling_rate: int, format: str = "wav") -> Audio:
        """Encode samples, at `sampling_rate` Hz, as 16 bit PCM. Raises ImportError without the package soundfile."""
        try:
            soundfile = importlib.import_module("soundfile")
        except ImportError as error:
            raise ImportError("soundfile is required to process audio arrays.") from error
        buffer = io.BytesIO()
        soundfile.write(buffer, array, sampling_rate, format=format.upper(), subtype="PCM_16")
        return cls(data=_base64(buffer.getvalue()), audio_format=format)

    def __str__(self) -> str:
        return cast("str", self.serialize_model())

    def __repr__(self) -> str:
        return f"Audio(data=<AUDIO_BASE_64_ENCODED({len(self.data)})>, audio_format='{self.audio_format}')"


def encode_audio(audio: Any, sampling_rate: int = 16000, format: str = "wav") -> dict[str, Any]:
    """Data and format of anything `Audio` takes. Raises ValueError for what it does not take."""
    if isinstance(audio, dict):
        given = cast("dict[str, Any]", audio)
        if "data" in given and "audio_format" in given:
            return given
        raise ValueError(f"Unsupported type for encode_audio: {dict}")
    if isinstance(audio, Audio):
        return {"data": audio.data, "audio_format": audio.audio_format}
    if isinstance(audio, str):
        if not audio.startswith("data:audio/"):
            raise ValueError(
                "String audio inputs must be data URIs. "
                "Load local files with Audio.from_path() and remote resources with Audio.from_url()."
            )
        header, comma, data = audio.partition(",")
        audio_format = header.removeprefix("data:").split(";", 1)[0].partition("/")[2]
        if not comma or not audio_format:
            raise ValueError("Malformed audio data URI")
        return {"data": data, "audio_format": _normalize_audio_format(audio_format)}
    if hasattr(audio, "shape") and _soundfile_is_installed():
        made = Audio.from_array(audio, sampling_rate=sampling_rate, format=format)
        return {"data": made.data, "audio_format": made.audio_format}
    if isinstance(audio, bytes):
        return {"data": _base64(audio), "audio_format": format}
    raise ValueError(f"Unsupported type for encode_audio: {type(audio)}")


def _soundfile_is_installed() -> bool:
    try:
        importlib.import_module("soundfile")
    except (ImportError, OSError):  # the package is there, its C library is not
        return False
    return True


def _has_own_format(source: Any) -> bool:
    if isinstance(source, dict):
        return "audio_format" in source
    return isinstance(source, Audio) or (isinstance(source, str) and source.startswith("data:audio/"))


def _audio_format(kind: str | None) -> str:
    if not kind or not kind.startswith("audio/"):
        raise ValueError(f"Unsupported MIME type for audio: {kind}")
    return _normalize_audio_format(kind.split("/")[1])


def _normalize_audio_format(audio_format: str) -> str:
    return audio_format.removeprefix("x-")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
