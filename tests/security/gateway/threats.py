"""Every threat to the gateway that was thought of, its answer, and the tests that prove it.

The threats are those of two lists: addresses that a stranger names (server-side request forgery),
and all others (the MCP specification's best practices, the OWASP MCP Top 10). A proof is a test
by path and function, below `tests/`.
"""

from typing import NamedTuple


class Threat(NamedTuple):
    """One threat, and where it is proven to come to nothing."""

    name: str
    proofs: tuple[str, ...]


def _threat(name: str, *proofs: str) -> Threat:
    return Threat(name, proofs)


_HERE = "security/gateway"

ADDRESSES = [
    _threat(
        "an address spelt as a literal, which passes a resolver's check by",
        "proxy/wire/test_guard.py::test_hostile_addresses_are_refused",
        "proxy/wire/test_guard.py::test_the_socket_itself_judges_its_address",
        "security/test_egress.py::test_an_address_is_known_however_it_is_spelt",
    ),
    _threat(
        "DNS rebinding: another address at the connection than at the check",
        "proxy/wire/test_guard.py::test_a_name_that_is_bound_to_loopback_later_reaches_nothing",
        "security/test_egress.py::test_an_answer_that_changes_is_checked_each_time",
    ),
    _threat(
        "blocks that libraries call global: NAT64, 6to4, site-local, multicast, mapped, CGNAT",
        "security/test_egress.py::test_what_is_not_public_is_closed",
        "security/test_egress.py::test_what_is_public_is_open",
    ),
    _threat(
        "plain HTTP",
        "security/test_egress.py::test_plain_http_is_closed",
        "proxy/test_remote.py::test_plain_http_goes_only_where_it_may",
        "registry/servers/test_document.py::test_a_private_address_is_open_in_development_alone",
    ),
    _threat(
        "a redirect to an address inside",
        "proxy/test_remote.py::test_a_front_that_misbehaves",
        f"{_HERE}/test_loops.py::test_it_is_not_even_submitted",
    ),
    _threat(
        "ports of other services",
        "proxy/wire/test_guard.py::test_ports_of_other_services_are_closed",
    ),
    _threat(
        "user names, fragments and other schemes in a URL",
        "proxy/wire/test_guard.py::test_urls_of_another_kind_are_refused",
        "security/test_egress.py::test_what_is_no_target_is_refused",
    ),
    _threat(
        "an answer without end in bytes or time, and one that swells when it is unpacked",
        "proxy/test_remote.py::test_an_answer_past_the_cap_is_cut_off_and_others_go_on",
        "proxy/wire/test_modern.py::test_a_body_that_comes_drop_by_drop_ends_with_the_time_given",
        "proxy/wire/test_modern.py::test_a_server_that_misbehaves_harms_its_own_call_only",
    ),
    _threat(
        "a name server that never answers",
        "security/test_egress.py::test_a_name_server_that_never_answers",
    ),
    _threat(
        "addresses in OAuth discovery, of keys and of clients' documents",
        "proxy/oauth/test_connecting.py::test_no_address_inside_is_reached",
        "proxy/oauth/test_connecting.py::test_what_a_server_names_is_guarded_as_well",
        "auth/test_tokens.py::test_keys_come_through_the_guarded_way_out",
    ),
    _threat(
        "remotes of server.json with variables in their templates",
        "registry/servers/test_document.py::test_remotes_that_cannot_be_used",
        "registry/servers/test_document.py::test_addresses_that_no_stranger_may_name",
        "registry/servers/test_document.py::test_values_that_do_not_fit",
    ),
    _threat(
        "this gateway as its own server, by any name, by a redirect, through others",
        "registry/servers/test_document.py::test_the_platform_is_no_server_of_its_own",
        f"{_HERE}/test_loops.py::test_it_is_not_even_submitted",
        f"{_HERE}/test_loops.py::test_others_may_pass_on_but_not_for_ever",
        f"{_HERE}/test_loops_in_calls.py::test_a_call_that_comes_back_is_refused",
    ),
    _threat(
        "webhooks to addresses inside",
        "orchestration/webhooks/test_endpoints.py",
        "surfaces/test_webhooks.py::test_what_can_be_no_endpoint_is_refused",
    ),
]

OTHERS = [
    _threat(
        "tool poisoning: hidden characters and instructions in definitions",
        "registry/scanner/test_scanner.py::test_poison_is_found_wherever_it_stands",
        "registry/scanner/test_scanner.py::test_a_character_that_is_not_seen_is_found_anywhere",
        "surfaces/registry/test_journey.py::test_a_scan_bars_approval_and_says_why",
        "proxy/test_calls.py::test_a_harmful_definition_is_left_out",
    ),
    _threat(
        "rug pull: another definition than the approved one",
        "registry/test_registry.py::test_a_changed_definition_waits_for_approval",
        "surfaces/registry/test_journey.py::test_a_drifted_tool_is_quarantined_and_its_developer_told",
        "proxy/test_changes.py::test_a_tool_that_changes_is_refused_until_approved",
        "proxy/test_changes.py::test_a_snapshot_older_than_the_running_server_does_not_let_a_change_through",
    ),
    _threat(
        "shadowing: a tool or server that passes for another",
        "registry/scanner/test_scanner.py::test_a_server_that_passes_for_another_is_found",
        "registry/scanner/test_scanner.py::test_a_tool_that_passes_for_another_is_found",
        "surfaces/registry/test_refusals.py::test_slugs_and_names_are_taken_once",
        f"{_HERE}/test_malformed.py::test_names_that_look_like_a_tools",
    ),
    _threat(
        "token passthrough: the caller's credentials, cookies and sessions",
        "surfaces/secrets_sent/test_canary.py::test_nothing_of_the_callers_own_request_leaves",
        "surfaces/mcp_passthrough/test_borders.py::test_nothing_of_the_callers_own_request_leaves",
        "surfaces/fastpath/test_fastpath.py::test_the_upstream_sees_its_own_name_and_nothing_of_the_caller",
        f"{_HERE}/test_upstreams.py::test_no_key_of_a_caller_leaves",
    ),
    _threat(
        "confused deputy, and mix-up of authorization servers",
        "proxy/oauth/test_connecting.py::test_consent_comes_before_the_redirect_and_is_given_once",
        "proxy/oauth/test_connecting.py::test_a_state_is_good_once",
        "proxy/oauth/test_connecting.py::test_an_answer_in_another_browser_connects_nobody",
        "proxy/oauth/test_connecting.py::test_an_answer_of_another_issuer_is_refused",
        "surfaces/test_connecting.py::test_forms_of_other_sites_are_refused",
    ),
    _threat(
        "another tenant's session, in every transport",
        "surfaces/test_mcp.py::test_a_session_is_its_owners",
        "surfaces/fastpath/test_sessions.py::test_a_session_is_its_owners",
        "surfaces/mcp_doors/test_authorization.py::test_a_session_is_its_clients",
        "surfaces/mcp_doors/test_sse.py::test_a_stream_is_its_openers",
        "surfaces/mcp_doors/test_websocket.py::test_each_socket_is_its_users",
        "surfaces/mcp_passthrough/test_borders.py::test_sessions_are_their_owners",
        f"{_HERE}/test_crossed.py::test_what_is_anothers_is_not_there",
    ),
    _threat(
        "another tenant's ticket",
        "surfaces/mcp_doors/test_websocket.py::test_a_ticket_opens_one_socket",
        "surfaces/mcp_doors/test_processes.py::test_a_ticket_is_used_once_among_all",
    ),
    _threat(
        "another tenant's task, and its questions",
        "surfaces/mcp_tasks/test_tasks.py::test_a_task_is_its_owners",
        "surfaces/mcp_tasks/test_questions.py::test_another_user_cannot_answer",
        f"{_HERE}/test_crossed.py::test_a_task_of_another_is_none",
    ),
    _threat(
        "another tenant's subscriptions",
        "surfaces/mcp_listen/test_subscriptions.py::test_only_own_resources_are_acknowledged",
        "surfaces/mcp_listen/test_subscriptions.py::test_a_tenant_hears_of_nobody_else",
        "surfaces/mcp_listen/test_sessions.py::test_what_is_not_the_callers_is_not_found",
    ),
    _threat(
        "another tenant's requestState, an old one, one of another request",
        "surfaces/mcp_passthrough/test_borders.py::test_a_state_comes_back_from_the_same_hands_only",
        f"{_HERE}/test_crossed.py::test_a_state_that_was_passed_through_is_good_for_a_day",
        f"{_HERE}/test_crossed.py::test_a_made_up_state_is_refused",
    ),
    _threat(
        "secrets in results, errors, logs, traces and lists",
        "surfaces/secrets_sent/test_canary.py::test_over_http",
        "surfaces/secrets_sent/test_canary.py::test_over_mcp",
        "surfaces/secrets_sent/test_canary.py::test_the_fast_way",
        "surfaces/secrets_sent/test_canary.py::test_what_is_listed_with_a_developers_secret_does_not_show_it",
        "surfaces/secrets_sent/test_canary.py::test_another_users_calls_do_not_carry_it",
        "kernel/test_scrub.py::test_every_form_is_hidden",
        "kernel/test_scrub.py::test_logs_lose_what_was_injected_last",
    ),
    _threat(
        "a secret sent to another origin",
        "proxy/credentials/test_credentials.py::test_a_secret_goes_to_no_other_origin",
        "proxy/oauth/test_tokens.py::test_tokens_stay_with_the_origin_they_were_given_for",
        "proxy/wire/test_oldsse.py::test_credentials_go_to_no_other_origin",
    ),
    _threat(
        "cost abuse: calls that nobody pays, or that are paid twice",
        "surfaces/fastpath/test_fastpath.py::test_what_is_no_answer_is_free",
        "surfaces/fastpath/test_fastpath.py::test_a_refused_call_costs_nothing",
        "surfaces/fastpath/test_fastpath.py::test_the_limit_of_calls_holds",
        "surfaces/mcp_passthrough/test_both_eras.py::test_a_question_back_is_asked_and_the_call_charged_once",
        "surfaces/mcp_passthrough/test_late.py::test_a_late_answer_is_paid_for_once_in_whatever_process",
        "surfaces/mcp_passthrough/test_late.py::test_an_id_is_good_in_its_own_session_only",
        "surfaces/mcp_passthrough/test_late.py::test_an_id_used_again_fetches_no_other_answer",
        "surfaces/mcp_passthrough/test_untasked.py::test_in_a_session",
        "surfaces/fastpath/test_declared.py::test_a_refusal_costs_where_the_tool_says_so",
        "surfaces/test_mcp.py::test_one_key_is_one_job_even_with_inline_files",
    ),
    _threat(
        "an upstream of slow drops",
        "proxy/wire/test_modern.py::test_a_body_that_comes_drop_by_drop_ends_with_the_time_given",
        "proxy/test_remote.py::test_a_remote_tool_that_takes_too_long_times_out",
    ),
    _threat(
        "an upstream that floods",
        "proxy/wire/test_sse.py::test_an_event_that_does_not_end_is_cut_off",
        "proxy/wire/test_oldsse.py::test_a_stream_that_floods_is_cut_off",
        "proxy/test_stdio.py::test_a_flood_is_cut_off",
        f"{_HERE}/test_upstreams.py::test_answers_that_are_none_cost_nothing",
    ),
    _threat(
        "wrong and foreign ids, a second response, an unknown resultType from an upstream",
        "proxy/wire/test_connection.py::test_what_follows_a_response_is_never_taken_for_the_next",
        "proxy/wire/test_modern.py::test_a_server_that_misbehaves_harms_its_own_call_only",
        "proxy/wire/test_modern.py::test_what_comes_after_the_answer_is_not_read",
        f"{_HERE}/test_upstreams.py::test_answers_that_are_none_cost_nothing",
    ),
    _threat(
        "schema bombs: references to the network, depth, expressions without end",
        "proxy/test_calls.py::test_a_reference_that_cannot_be_followed_is_refused",
        "proxy/test_calls.py::test_a_broken_schema_is_the_servers_fault",
        "registry/scanner/test_scanner.py::test_what_nobody_can_have_read_is_refused",
        "registry/servers/test_servers.py::test_definitions_have_a_largest_size",
    ),
    _threat(
        "headers of MCP that disagree with the body or with themselves",
        "surfaces/fastpath/test_corpus.py::test_both_ways_answer_alike",
        "surfaces/mcp_passthrough/test_borders.py::test_headers_and_envelope_must_fit",
        "proxy/wire/test_connection.py::test_a_header_cannot_bring_another_one",
        f"{_HERE}/test_headers.py::test_headers_of_mcp_that_disagree",
    ),
    _threat(
        "request smuggling on the line",
        f"{_HERE}/test_headers.py::test_what_can_be_read_in_two_ways_is_no_request",
        f"{_HERE}/test_headers.py::test_hosts_that_disagree",
    ),
    _threat("headers without end", f"{_HERE}/test_headers.py::test_header_bombs"),
    _threat(
        "what is no message, at every door of both eras",
        f"{_HERE}/test_malformed.py::test_by_requests_of_the_new_era",
        f"{_HERE}/test_malformed.py::test_by_sessions",
        f"{_HERE}/test_malformed.py::test_over_a_websocket",
        f"{_HERE}/test_malformed.py::test_by_the_post_of_an_old_stream",
        "surfaces/mcp_passthrough/test_borders.py::test_what_is_no_message_is_refused",
        "surfaces/mcp_passthrough/test_borders.py::test_a_key_given_twice_means_one_thing_to_all",
    ),
    _threat(
        "versions that nobody knows",
        f"{_HERE}/test_malformed.py::test_unknown_versions",
        f"{_HERE}/test_malformed.py::test_a_handshake_of_an_unknown_version_is_offered_a_known_one",
    ),
    _threat(
        "JSON of a hundred thousand levels",
        f"{_HERE}/test_depth.py::test_a_hundred_thousand_levels",
        "surfaces/test_http_errors.py::test_hostile_nesting",
    ),
    _threat(
        "a body of a gigabyte, announced or not, in frames",
        f"{_HERE}/test_bodies.py::test_a_gigabyte_at_every_door",
        f"{_HERE}/test_bodies.py::test_a_gigabyte_in_a_session",
        f"{_HERE}/test_bodies.py::test_a_gigabyte_in_frames",
    ),
    _threat(
        "clients of slow drops, and those that read nothing",
        f"{_HERE}/test_stalling.py::test_a_request_drop_by_drop",
        f"{_HERE}/test_stalling.py::test_a_connection_that_says_nothing",
        f"{_HERE}/test_stalling.py::test_a_client_that_reads_no_answers",
        f"{_HERE}/test_stalling.py::test_a_stream_that_nobody_reads",
        f"{_HERE}/test_stalling.py::test_a_stream_that_is_quiet_is_not_cut",
    ),
    _threat(
        "any other input to the HTTP door",
        f"{_HERE}/test_openapi.py::test_every_answer_is_as_declared",
    ),
    _threat(
        "tokens mismanaged, scopes that creep (MCP01, MCP02)",
        "surfaces/mcp_doors/test_authorization.py::test_hostile_tokens",
        "surfaces/mcp_doors/test_authorization.py::test_step_up",
        "surfaces/mcp_doors/test_authorization.py::test_nobody_becomes_an_operator_by_a_token",
        "auth/test_auth.py::test_a_key_cannot_make_a_stronger_one",
    ),
    _threat(
        "commands in arguments, paths of this machine (MCP05)",
        "proxy/test_calls.py::test_a_path_never_reaches_a_tool",
        "proxy/test_stdio.py::test_a_server_gets_path_home_lang_and_what_is_declared",
    ),
    _threat(
        "a tool that speaks for the platform (MCP06)",
        "proxy/test_stdio.py::test_a_tool_cannot_speak_for_the_platform",
        "surfaces/mcp_tasks/test_apps.py::test_nothing_of_a_run_becomes_markup",
    ),
    _threat(
        "doors without a check of who calls, and from which page (MCP07)",
        "surfaces/mcp_doors/test_websocket.py::test_nobody_gets_in_without_a_credential",
        "surfaces/mcp_doors/test_websocket.py::test_foreign_pages_and_hosts",
        "surfaces/mcp_passthrough/test_borders.py::test_the_gate_is_the_same_as_before_the_other_tools",
        "surfaces/test_mcp.py::test_the_gate",
    ),
    _threat(
        "deeds that nobody can look up (MCP08)",
        "auth/test_auth.py::test_what_happens_to_keys_is_audited",
        "vault/test_vault.py::test_the_audit_log_says_what_was_done",
        "surfaces/fastpath/test_fastpath.py::test_a_call_is_charged_metered_and_durable",
    ),
    _threat(
        "servers that nobody approved (MCP09)",
        "proxy/test_calls.py::test_only_approved_tools_are_called",
        "surfaces/registry/test_refusals.py::test_another_tenant_sees_and_changes_nothing",
    ),
    _threat(
        "answers shared between tenants (MCP10)",
        "surfaces/fastpath/test_declared.py::test_an_answer_holds_for_its_user_and_arguments",
        "proxy/test_isolation.py::test_every_user_has_a_process",
        "proxy/wire/test_legacy.py::test_owners_of_credentials_share_no_session",
    ),
]
