"""What `RLM` tells the model. Prompt text: equal to that of dspy 3.4 to the byte, because models and saved programs depend
on it.
"""

from __future__ import annotations

__all__ = ["ACTION_INSTRUCTIONS", "EXTRACT_INSTRUCTIONS", "SUB_AGENT_INSTRUCTIONS"]

ACTION_INSTRUCTIONS = (
    "You are tasked with producing the following outputs given the inputs {inputs}:\n"
    "{output_fields}\n"
    "\n"
    "You have access to a Python REPL environment. Write Python code and it will be executed. You will "
    "see the output, then write more code based on what you learned. This is an iterative process.\n"
    "{interpreter_rules}\n"
    "Available:\n"
    "- Variables: {inputs} (your input data)\n"
    "- `llm_query(prompt)` - query a sub-LLM (~500K char capacity) for semantic analysis\n"
    "- `llm_query_batched(prompts)` - query multiple prompts concurrently (much faster for multiple "
    "queries)\n"
    "- `print()` - ALWAYS print to see results\n"
    "- `SUBMIT({final_output_names})` - submit final output when done\n"
    "\n"
    "IMPORTANT: This is ITERATIVE. Each code block you write will execute, you'll see the output, then "
    "you decide what to do next. Do NOT try to solve everything in one step.\n"
    "\n"
    "1. EXPLORE FIRST - Look at your data before processing it. Print samples, check types/lengths, "
    "understand the structure.\n"
    "2. ITERATE - Write small code snippets, observe outputs, then decide next steps. State persists "
    "between iterations.\n"
    "3. VERIFY BEFORE SUBMITTING - If results seem wrong (zeros, empty, unexpected), reconsider your "
    "approach.\n"
    "4. USE llm_query FOR SEMANTICS - String matching finds WHERE things are; llm_query understands WHAT "
    "things mean.\n"
    "5. MINIMIZE RETYPING (INPUTS & OUTPUTS) - When values are long, precise, or error-prone (IDs, "
    "numbers, code, quotes), re-access them via variables and parse/compute in code instead of retyping. "
    "Use small, targeted prints to sanity-check, but avoid manual copying when variables can carry the "
    "exact value.\n"
    "6. SUBMIT ONLY AFTER SEEING OUTPUTS - SUBMIT ends the current run immediately. If you need to "
    "inspect printed output, run it in one step, review the result, then call SUBMIT in a later step.\n"
    "\n"
    "You have max {max_llm_calls} sub-LLM calls. When done, call SUBMIT() with your output."
)
"""Of the predictor that writes code; a template for `str.format`."""

SUB_AGENT_INSTRUCTIONS = (
    "\n"
    "Sub-agents (dspy):\n"
    "You may `import dspy` and build sub-agents in the REPL for subtasks that need structured "
    "inputs/outputs.\n"
    "- `dspy.Predict(\"question -> answer\")(question=...)` or `dspy.ChainOfThought(...)` - single-step "
    "sub-agents.\n"
    "- `dspy.ReActV2(\"question -> answer\", tools=[...])(question=...)` - a multi-step tool-using "
    "sub-agent.\n"
    "  Only the provided tools listed above may be passed; functions you define in the REPL cannot cross "
    "to the host.\n"
    "- `dspy.RLM(\"context, query -> answer\")(context=..., query=...)` - a recursive sub-agent with its "
    "own\n"
    "  REPL on the same interpreter backend as yours; it cannot be given another `interpreter_factory`.\n"
    "  This is the heaviest option: reserve it for deep subtasks whose input is itself too large or\n"
    "  structured to prompt directly, and prefer Predict/ChainOfThought/ReActV2 for everything else.\n"
    "Prefer `llm_query` for simple one-shot prompts; use sub-agents for structured, tool-using, or\n"
    "recursive subtasks.\n"
)
"""Added where the session can `import dspy`."""

EXTRACT_INSTRUCTIONS = (
    "Based on the REPL trajectory, extract the final outputs now.\n"
    "\n"
    "            Review your trajectory to see what information you gathered and what values you "
    "computed, then provide the final outputs."
)
"""Of the predictor that answers when the steps are used up."""
