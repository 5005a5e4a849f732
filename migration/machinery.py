"""The private steps of the classes of dspy 3.4 that programs derive from.

A program that overrides or calls one of them relies on how dspy works inside. The engine works in another way: a method of
that name would not be called by it. A test compares the table with the installed dspy.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STEPS"]

STEPS: Final[dict[str, frozenset[str]]] = {
    "Module": frozenset({"_base_init", "_set_lm_usage"}),
    "Predict": frozenset(
        {
            "_base_init",
            "_forward_postprocess",
            "_forward_preprocess",
            "_get_positional_args_error_message",
            "_set_lm_usage",
            "_should_stream",
        }
    ),
    "ChainOfThought": frozenset({"_base_init", "_set_lm_usage"}),
    "ReAct": frozenset(
        {
            "_async_call_with_potential_trajectory_truncation",
            "_base_init",
            "_call_with_potential_trajectory_truncation",
            "_format_trajectory",
            "_set_lm_usage",
        }
    ),
    "ReActV2": frozenset(
        {
            "_aexecute_tool_calls",
            "_aforced_submit",
            "_base_init",
            "_execute_tool_calls",
            "_forced_submit",
            "_history_event",
            "_make_react_signature",
            "_make_submit_tool",
            "_set_lm_usage",
        }
    ),
    "ProgramOfThought": frozenset(
        {
            "_base_init",
            "_execute_code",
            "_generate_instruction",
            "_generate_signature",
            "_interpreter_context",
            "_parse_code",
            "_set_lm_usage",
        }
    ),
    "CodeAct": frozenset(
        {
            "_async_call_with_potential_trajectory_truncation",
            "_base_init",
            "_build_instructions",
            "_call_with_potential_trajectory_truncation",
            "_execute_code",
            "_format_trajectory",
            "_generate_instruction",
            "_generate_signature",
            "_interpreter_context",
            "_parse_code",
            "_set_lm_usage",
        }
    ),
    "RLM": frozenset(
        {
            "_RESERVED_RESULT_NAMES",
            "_RESERVED_SANDBOX_NAMES",
            "_action_signature_for_current_factory",
            "_aexecute_iteration",
            "_aextract_fallback",
            "_base_init",
            "_build_signatures",
            "_build_variables",
            "_execute_code",
            "_execute_iteration",
            "_extract_fallback",
            "_format_interpreter_rules",
            "_format_output",
            "_format_tool_docs",
            "_get_execution_instructions",
            "_get_output_fields_info",
            "_inject_execution_context",
            "_interpreter_context",
            "_make_interpreter_tool",
            "_make_llm_tools",
            "_normalize_tools",
            "_prepare_execution_tools",
            "_prepare_serializable_vars",
            "_process_execution_result",
            "_process_final_output",
            "_set_lm_usage",
            "_setup_facade",
            "_validate_inputs",
            "_validate_namespace",
        }
    ),
    "BestOfN": frozenset({"_base_init", "_set_lm_usage"}),
    "Refine": frozenset({"_base_init", "_set_lm_usage"}),
    "MultiChainComparison": frozenset({"_base_init", "_set_lm_usage"}),
    "Adapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
        }
    ),
    "ChatAdapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
            "_make_json_adapter_fallback",
        }
    ),
    "JSONAdapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
            "_make_json_adapter_fallback",
            "_prepare_response_format",
        }
    ),
    "XMLAdapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_elements_to_value",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
            "_group_children",
            "_make_json_adapter_fallback",
            "_schema_to_xml",
            "_uses_nested_xml",
            "_value_to_xml",
            "_xml_schema",
        }
    ),
    "TwoStepAdapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_create_extractor_signature",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
        }
    ),
    "BAMLAdapter": frozenset(
        {
            "_call_postprocess",
            "_call_preprocess",
            "_get_history_field_name",
            "_get_tool_call_input_field_name",
            "_get_tool_call_output_field_name",
            "_make_json_adapter_fallback",
            "_prepare_response_format",
        }
    ),
    "BaseLM": frozenset(
        {
            "_extract_citations_from_response",
            "_get_initial_kwargs",
            "_process_completion",
            "_process_lm_response",
            "_process_response",
            "_record_response",
        }
    ),
    "LM": frozenset(
        {
            "_check_truncation",
            "_extract_citations_from_response",
            "_get_cached_completion_fn",
            "_get_initial_kwargs",
            "_process_completion",
            "_process_lm_response",
            "_process_response",
            "_provider_name",
            "_reap_closed_loops",
            "_record_response",
            "_run_finetune_job",
            "_warn_zero_temp_rollout",
            "_wrap_litellm_exception",
        }
    ),
    "Embedder": frozenset({"_postprocess", "_preprocess"}),
    "Tool": frozenset({"_parse_function", "_run_async_in_sync", "_validate_and_parse_args"}),
    "Evaluate": frozenset({"_construct_result_table", "_display_result_table", "_prepare_results_output"}),
    "BootstrapFewShot": frozenset(
        {
            "_bootstrap",
            "_bootstrap_one_example",
            "_prepare_predictor_mappings",
            "_prepare_student_and_teacher",
            "_train",
        }
    ),
    "COPRO": frozenset(
        {"_check_candidates_equal", "_drop_duplicates", "_get_signature", "_print_signature", "_set_signature"}
    ),
    "MIPROv2": frozenset(
        {
            "_bootstrap_fewshot_examples",
            "_estimate_lm_calls",
            "_get_param_distributions",
            "_log_minibatch_eval",
            "_log_normal_eval",
            "_optimize_prompt_parameters",
            "_perform_full_evaluation",
            "_print_auto_run_settings",
            "_propose_instructions",
            "_select_and_insert_instructions_and_demos",
            "_set_and_validate_datasets",
            "_set_hyperparams_from_run_mode",
            "_set_num_trials_from_num_candidates",
            "_set_random_seeds",
        }
    ),
    "InferRules": frozenset(
        {
            "_bootstrap",
            "_bootstrap_one_example",
            "_prepare_predictor_mappings",
            "_prepare_student_and_teacher",
            "_train",
        }
    ),
    "BetterTogether": frozenset(
        {
            "_add_candidate",
            "_evaluate_on_valset",
            "_models_changed",
            "_prepare_optimizer_compile_args",
            "_prepare_strategy",
            "_prepare_student_and_teacher",
            "_prepare_trainset_and_valset",
            "_run_and_evaluate_step",
            "_run_strategies",
            "_validate_compile_args",
        }
    ),
    "PythonInterpreter": frozenset(
        {
            "_MAX_SKIP_LINES",
            "_check_session_active",
            "_check_thread_ownership",
            "_ensure_deno_process",
            "_extract_parameters",
            "_get_deno_dir",
            "_get_runner_path",
            "_handle_out_of_band_message",
            "_handle_tool_call",
            "_health_check",
            "_inject_large_var",
            "_inject_variables",
            "_mount_files",
            "_next_request_id",
            "_parse_response_line",
            "_query_deno_dir",
            "_raise_terminal_error",
            "_read_response_line",
            "_register_tools",
            "_send_request",
            "_serialize_value",
            "_spawn_process",
            "_sync_files",
            "_to_json_compatible",
            "_write_message",
        }
    ),
    "LocalInterpreter": frozenset(
        {
            "_handle_tool",
            "_kill",
            "_raise_terminal_error",
            "_read_responses",
            "_receive",
            "_send",
            "_validate_output_fields",
            "_validate_tool_names",
        }
    ),
    "Embeddings": frozenset({"_batch_forward", "_build_faiss", "_faiss_search", "_normalize", "_rerank_and_predict"}),
    "StreamListener": frozenset(
        {
            "_buffered_message_end_with_start_identifier",
            "_could_form_end_identifier",
            "_default_handle_stream_chunk",
            "_json_adapter_handle_stream_chunk",
            "_output_type",
        }
    ),
    "DummyLM": frozenset(
        {
            "_extract_citations_from_response",
            "_format_answer_fields",
            "_get_initial_kwargs",
            "_process_completion",
            "_process_lm_response",
            "_process_response",
            "_record_response",
            "_use_example",
        }
    ),
}
"""By class, with what it inherits."""
