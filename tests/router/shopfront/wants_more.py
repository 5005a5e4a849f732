"""Says `import dspy` and uses what the engine does not have."""

from dspy import enable_litellm_logging


def build():
    return enable_litellm_logging
