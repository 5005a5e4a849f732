"""Models by every kind of name."""

import os

import dspy

FAST = "openai/gpt-4o-mini"
SMART = "anthropic/claude-sonnet-4-6" if os.environ.get("SMART") else "openai/gpt-4o"

fast = dspy.LM(FAST, temperature=0.2)
smart = dspy.LM(model=SMART)
local = dspy.LM("ollama_chat/llama3.2:1b", api_base="http://localhost:11434")
served = dspy.LM(f"openai/{os.environ.get('MODEL', 'mine')}", api_base="http://localhost:8000/v1", api_key="x")
azure = dspy.LM("azure/gpt-4o", api_version="2024-02-01")
bedrock = dspy.LM("bedrock/anthropic.claude-3-haiku")
bare = dspy.LM("claude-3-haiku-20240307")
chosen = dspy.LM(os.environ["MODEL"])
