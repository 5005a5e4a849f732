"""Names that earlier versions of dspy had and 3.4 has not, and what a program uses instead today.

Programs in the wild are written for every version since 2.0, so most of what `check` finds that is not native is here.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["DSP", "OLD_ARGUMENTS", "REMOVED", "REMOVED_MODULES", "SWALLOWED", "Gone", "gone"]


@final
class Gone:
    """Since when a name is no more, and what to do."""

    __slots__ = ("advice", "until")

    def __init__(self, until: str, advice: str) -> None:
        self.until = until
        """The last version that had it."""
        self.advice = advice


_OLD_DSPY: Final = "or run it as it is in a legacy pool whose `python=` has that dspy"
_LM: Final = Gone("2.5", f'use dspy.LM("provider/model", ...), which names every provider the same way; {_OLD_DSPY}')
_ASSERT: Final = Gone(
    "2.6", f"check the condition in a reward function and give it to dspy.Refine or dspy.BestOfN; {_OLD_DSPY}"
)
_TYPED: Final = Gone("2.5", "use dspy.Predict or dspy.ChainOfThought: every signature is typed now")
_RM: Final = Gone(
    "2.6", "call the store's own client in a plain function that returns passages, and call that from forward"
)
_MIPRO: Final = Gone("2.5", "use dspy.MIPROv2")
_LANGCHAIN: Final = Gone("2.6", f"write the step as a dspy.Module of its own; {_OLD_DSPY}")

_LM_NAMES: Final = (
    *("OpenAI", "AzureOpenAI", "MultiOpenAI", "Anthropic", "Claude", "Cohere", "CohereLM", "Google", "GoogleVertexAI"),
    *("Together", "Anyscale", "Databricks", "HFModel", "HFClientTGI", "HFClientVLLM", "HFClientSGLang", "HFServerTGI"),
    *("ChatModuleClient", "HFChatModel", "OllamaLocal", "Mistral", "Bedrock", "Sagemaker", "AWSMistral"),
    *("AWSAnthropic", "AWSMeta", "GROQ", "GroqLM", "Clarifai", "ClarifaiLLM", "CloudflareAI", "Snowflake", "PremAI"),
    *("Watsonx", "LlamaCpp", "TensorRTModel", "VLLMOfflineModel", "You", "MLC", "CodeLlama", "GPT3"),
)
_RM_NAMES: Final = (
    *("ChromadbRM", "QdrantRM", "PineconeRM", "MilvusRM", "MyScaleRM", "MarqoRM", "Neo4jRM", "FaissRM", "YouRM"),
    *("AzureAISearchRM", "AzureCognitiveSearch", "SnowflakeRM", "PgVectorRM", "RAGatouilleRM", "LlamaIndexRM"),
    *("ClarifaiRM", "WatsonDiscoveryRM", "VectaraRM", "EpsillaRM", "DeeplakeRM", "LancedbRM", "FalkordbRM"),
    *("RetrieveThenRerank", "PyseriniRM", "ColBERTv2RetrieverLocal", "ColBERTv2RerankerLocal"),
)
_ASSERT_NAMES: Final = (
    *("Assert", "Suggest", "Constraint", "DSPyAssertionError", "DSPySuggestionError", "assert_transform_module"),
    *("backtrack_handler", "noop_handler", "bypass_assert_handler", "bypass_suggest_handler", "activate_assertions"),
    *("suggest_backtrack_handler", "assert_no_except_handler", "handle_assert_forward", "Retry"),
)

REMOVED: Final[dict[str, Gone]] = {
    **dict.fromkeys(_LM_NAMES, _LM),
    **dict.fromkeys(_RM_NAMES, _RM),
    **dict.fromkeys(_ASSERT_NAMES, _ASSERT),
    **dict.fromkeys(("TypedPredictor", "TypedChainOfThought", "TypedPredictorSignature", "FunctionalModule"), _TYPED),
    "ChainOfThoughtWithHint": Gone("2.6", "use dspy.ChainOfThought with an input field for the hint"),
    **dict.fromkeys(("BayesianSignatureOptimizer", "MIPRO", "SignatureOptTypedOptimizer"), _MIPRO),
    "SignatureOptimizer": Gone("2.5", "use dspy.COPRO"),
    "optimize_signature": _MIPRO,
    **dict.fromkeys(("LangChainPredict", "LangChainModule", "DSPyLangChain", "LlamaIndexModule"), _LANGCHAIN),
    "Program": Gone("2.0", "use dspy.Module"),
    "ProgramMeta": Gone("2.0", "derive from dspy.Module"),
    **dict.fromkeys(
        ("Template", "TextPrompt", "CodePrompt", "Passages"), Gone("2.4", "describe the task by a dspy.Signature")
    ),
    "TypedSignature": _TYPED,
    "set_log_level": Gone("2.6", 'use logging.getLogger("dspex.engine").setLevel(...)'),
    "set_log_output": Gone("2.6", "use the logging module"),
    "logger": Gone("2.6", "use the logging module"),
    "OpenAIVectorizer": Gone("2.5", "use dspy.Embedder"),
    "SentenceTransformersVectorizer": Gone("2.5", "use dspy.Embedder with the model's encode function"),
    "ReActShim": Gone("2.4", "use dspy.ReAct"),
}
"""Names by which programs know them, wherever they were imported from."""

REMOVED_MODULES: Final[dict[str, Gone]] = {
    "functional": _TYPED,
    "primitives.assertions": _ASSERT,
    "primitives.program": Gone("2.6", "use dspy.Module"),
    "primitives.prompt": Gone("2.4", "describe the task by a dspy.Signature"),
    "primitives.tool": Gone("2.6", "use dspy.Tool"),
    "retrieve": _RM,
    "retriever": _RM,
    "rm": _RM,
    "backends": Gone("2.5", "use dspy.LM and an adapter"),
    "modeling": Gone("2.5", "use dspy.LM"),
    "predict.langchain": _LANGCHAIN,
    "predict.llamaindex": _LANGCHAIN,
    "predict.chain_of_thought_with_hint": REMOVED["ChainOfThoughtWithHint"],
    "teleprompt.mipro_optimizer": _MIPRO,
    "teleprompt.signature_opt_bayesian": _MIPRO,
    "teleprompt.signature_opt_typed": _MIPRO,
    "teleprompt.finetune": Gone("2.5", "use dspy.BootstrapFinetune in the legacy pool"),
    "evaluate.auto_evaluation_async": Gone("2.6", "use dspy.Evaluate"),
    "utils.logging": Gone("2.6", "use the logging module"),
    "clients.anthropic": _LM,
    "dsp.modules": _LM,
    "dsp.primitives": Gone("2.5", "use the modules of dspy itself"),
    "dsp.templates": Gone("2.5", "describe the task by a dspy.Signature"),
    "experimental.synthesizer": Gone("2.6", "write the examples with a dspy.Predict of your own"),
    "experimental.synthetic_data": Gone("2.6", "write the examples with a dspy.Predict of your own"),
}
"""Modules below dspy, with everything in them."""

DSP: Final = Gone("2.5", f"`dsp` was dspy's predecessor and left with 2.5: use the names of dspy; {_OLD_DSPY}")

OLD_ARGUMENTS: Final[dict[str, str]] = {
    "return_all_scores": "the result of Evaluate has `.results` with every score",
    "return_outputs": "the result of Evaluate has `.results` with every prediction",
    "requires_permission_to_run": "leave it out: nothing asks any more",
    "num_results": "leave it out",
    "max_hops": "name it max_iters",
    "passages_per_hop": "leave it out",
    "max_retries": "leave it out: parsing is not repeated by the predictor",
    "explain_errors": "leave it out",
    "rationale_type": "add a field of that name to the signature",
    "activated": "leave it out",
}
"""Arguments that callables used to take, and what to do instead."""


SWALLOWED: Final = frozenset({"return_all_scores", "return_outputs"})
"""Of these, those that callables still let in and do nothing with, or refuse."""


def gone(path: tuple[str, ...]) -> Gone | None:
    """What became of a path below dspy, if an earlier version had it."""
    for length in range(len(path), 0, -1):
        known = REMOVED_MODULES.get(".".join(path[:length]))
        if known is not None:
            return known
    return next((REMOVED[part] for part in path if part in REMOVED), None)
