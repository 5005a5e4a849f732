"""The installed dspy, for the tests that compare with it, and settings that no test leaves behind."""

from engine_fixtures import dspy, settings_are_restored

__all__ = ["dspy", "settings_are_restored"]
