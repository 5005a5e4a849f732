"""The types of values that are more than text: tools and their calls, images, documents, code, a conversation."""

from .audio import Audio
from .base import Type
from .citations import Citations
from .code import Code
from .document import Document
from .file import File
from .history import History
from .image import Image
from .reasoning import Reasoning
from .tool import Tool
from .tool_calls import ToolCallResults, ToolCalls

__all__ = [
    "Audio",
    "Citations",
    "Code",
    "Document",
    "File",
    "History",
    "Image",
    "Reasoning",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "Type",
]
