"""The types of values that are more than text: tools and their calls, images, documents, code, a conversation."""

from .base import Type
from .tool import Tool
from .tool_calls import ToolCallResults, ToolCalls

__all__ = ["Tool", "ToolCallResults", "ToolCalls", "Type"]
