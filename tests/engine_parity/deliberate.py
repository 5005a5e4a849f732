"""Where the engine is not dspy, and why."""

ON_PURPOSE: dict[str, str] = {}

OWN_WORDS: dict[str, str] = {}
