"""What is demanded of the platform, and the tests that prove it; checked in both directions.

`PROOFS` maps a demand's id to (demand, proofs). A proof is a test file, or `file::test`. A demand
that is not met in full says so in `OPEN`. `tests/architecture/test_requirements.py` refuses a proof
that does not exist, and a file of end-to-end, fault, security or conformance tests without demand.
"""

from typing import NamedTuple


class Demand(NamedTuple):
    """One demand and its proofs."""

    text: str
    proofs: tuple[str, ...]


def _of(text: str, *proofs: str) -> Demand:
    return Demand(text, proofs)


PROOFS: dict[str, Demand] = {
    "main-job": _of(
        "A knockout of HBB over MCP succeeds, is charged its quote and leaves nine files.",
        "e2e/test_knockout.py",
    ),
    "workflow-examples": _of(
        "Every published workflow runs over HTTP and MCP: checked, held, charged for what ran.",
        "e2e/test_workflow_examples.py",
    ),
    "workflow-prices": _of(
        "A run of a workflow holds the most it can cost and is charged the steps that succeeded.",
        "orchestration/workflow/test_pricing.py",
        "surfaces/test_workflows.py::test_the_hold_is_the_most_and_the_charge_what_ran",
    ),
    "workflow-repeats": _of(
        "Replay from a step and fork take over what still holds and are priced for the rest.",
        "surfaces/test_workflows_again.py",
        "orchestration/workflow/test_forking.py",
    ),
    "registry-journey": _of(
        "A developer's server goes from draft to a charged call; drift is quarantined, off is off.",
        "surfaces/registry/test_journey.py",
        "surfaces/registry/test_secrets.py",
    ),
    "registry-scanner": _of(
        "Poisoned tool definitions block approval and say why; honest ones pass.",
        "registry/scanner/test_scanner.py",
    ),
    "registry-refusals": _of(
        "Bad server.json, private addresses, other tenants and wrong states change nothing.",
        "surfaces/registry/test_refusals.py",
        "registry/servers/test_document.py",
    ),
    "registry-v01": _of(
        "Approved servers are readable by the official registry's API v0.1.",
        "surfaces/registry/test_v01.py",
    ),
    "registry-cache": _of(
        "The registry's look-ups are answered from memory, and the share is a metric.",
        "surfaces/registry/test_journey.py::test_look_ups_are_answered_from_memory",
        "surfaces/registry/test_journey.py::test_another_process_follows",
    ),
    "commands": _of(
        "The command line has live progress, clean stdout for scripts and exit codes.",
        "e2e/test_cli.py",
    ),
    "mcp-tasks": _of(
        "Runs and slow tools are tasks for MCP clients that know tasks, bound to their user.",
        "surfaces/mcp_tasks/test_tasks.py",
        "surfaces/mcp_tasks/test_slow_tools.py",
        "surfaces/mcp_tasks/test_questions.py",
    ),
    "mcp-changes": _of(
        "MCP clients of both eras hear of their own jobs and tools, whichever process acts.",
        "surfaces/mcp_listen/test_subscriptions.py",
        "surfaces/mcp_listen/test_sessions.py",
        "surfaces/mcp_listen/test_sockets.py",
        "surfaces/mcp_listen/test_processes.py",
    ),
    "mcp-questions": _of(
        "The client that waits answers a run's question; its state is sealed, its price one.",
        "surfaces/mcp_listen/test_asking.py",
    ),
    "mcp-giving-up": _of(
        "Who waits no longer ends a proxied call, unpaid, and never a paid run.",
        "surfaces/mcp_listen/test_calls.py",
    ),
    "mcp-pages": _of(
        "The report of a run is a page that loads nothing and runs nothing of what it shows.",
        "surfaces/mcp_tasks/test_apps.py",
    ),
    "mcp-lists": _of(
        "Tools, prompts and templates come in stable pages; every tool has a name without dots.",
        "surfaces/mcp_tasks/test_pages.py",
        "surfaces/mcp_tasks/test_prompts.py",
    ),
    "hub-robust": _of(
        "The embedded hub survives kills, stale files, a second process; clear errors otherwise.",
        "kernel/test_embedded.py",
        "kernel/test_embedded_killed.py",
    ),
    "hub-never-trust": _of(
        "Never trust over TCP.",
        "kernel/test_embedded_doors.py::test_tcp_asks_for_the_password",
        "kernel/test_embedded_doors.py::test_another_user_is_refused_even_at_an_open_socket",
    ),
    "migrations": _of(
        "Bootstrap and migrations run as a non-superuser on PostgreSQL 16 and 18.",
        "kernel/test_bootstrap.py",
        "kernel/test_migrations.py",
    ),
    "seed-names": _of(
        "Tables, columns and states keep the names of the seed data model.",
        "architecture/test_tables.py::test_published_names_are_kept",
        "architecture/test_tables.py::test_published_states_are_kept",
    ),
    "rls": _of(
        "Row-level security is forced on every table; another tenant sees and changes nothing.",
        "security/test_tenants_sql.py",
        "architecture/test_tables.py",
        "surfaces/test_tenants.py",
        "e2e/test_tenants.py",
    ),
    "problem-json": _of(
        "Every HTTP error is RFC 9457 problem JSON with a stable code; MCP carries the same code.",
        "surfaces/test_http_errors.py",
        "surfaces/test_mcp.py::test_errors_carry_the_codes_of_http",
    ),
    "api-keys": _of(
        "API keys have scopes and expiry, can be revoked, are shown once and stored as hashes.",
        "auth/test_auth.py",
        "e2e/test_cli.py::test_the_key_is_shown_once",
    ),
    "access-tokens": _of(
        "JWTs count beside keys only with the right signature, issuer, audience, time and account.",
        "auth/test_tokens.py",
        "surfaces/mcp_doors/test_authorization.py",
    ),
    "doors": _of(
        "MCP over SSE and WebSocket in every era, each bound to who opened it, ended with its key.",
        "surfaces/mcp_doors/test_websocket.py",
        "surfaces/mcp_doors/test_sse.py",
        "surfaces/mcp_doors/test_processes.py",
    ),
    "ledger": _of(
        "Hold at submit, capture on success, release on failure, exactly once, never negative.",
        "billing/test_ledger.py",
        "orchestration/test_jobs.py",
        "orchestration/test_lane.py",
    ),
    "usage-mode": _of(
        "Usage is summed exactly, rounded once; more is held in steps, the next step is refused.",
        "billing/usage/test_rates.py",
        "billing/usage/test_machine.py",
        "orchestration/usage/test_runs.py",
        "surfaces/test_usage_mode.py",
    ),
    "books": _of(
        "After every test the books balance, and a live platform's can be audited.",
        "billing/test_books.py",
    ),
    "no-credits": _of(
        "Not enough credits is a clear error and no job.",
        "orchestration/test_jobs.py::test_without_credits_there_is_no_job",
        "e2e/test_bad_input.py::test_no_credits",
    ),
    "registry": _of(
        "Servers of mcp_config.yaml (Biomni's keys too); definitions pinned by hash.",
        "registry/test_config.py",
        "registry/test_registry.py",
        "proxy/test_changes.py",
    ),
    "proxy": _of(
        "One way to a tool: limits, schema, time-outs, size caps; servers kept warm, restarted.",
        "proxy/test_calls.py",
        "proxy/test_stdio.py",
        "proxy/test_remote.py",
    ),
    "sandbox": _of(
        "Code runs isolated or not at all.",
        "sandbox/test_conformance.py",
        "sandbox/test_service.py",
        "proxy/test_sandbox_tool.py::test_without_walls_nothing_runs",
    ),
    "sandbox-abuse": _of(
        "Every attack of the abuse list meets its wall on every executor, as the matrix says.",
        "sandbox/abuse/test_rows.py",
        "sandbox/abuse/test_without_cgroup.py",
        "sandbox/abuse/test_controls.py",
        "sandbox/abuse/test_ends.py",
        "sandbox/abuse/test_neighbours.py",
        "sandbox/abuse/test_requests.py",
        "sandbox/abuse/test_egress.py",
        "sandbox/abuse/test_engine.py",
        "sandbox/abuse/test_leaks.py",
        "sandbox/abuse/test_matrix.py",
        "sandbox/test_walls.py",
    ),
    "sandbox-pool": _of(
        "Workers wait and are used once; an empty pool queues nobody; a session's end is told.",
        "sandbox/test_pool.py",
        "sandbox/test_pooled.py",
        "sandbox/test_sessions.py",
    ),
    "run-python": _of(
        "run_python over MCP: files, pictures, progress, sessions; the sandbox's faults are free.",
        "surfaces/test_run_python.py",
        "proxy/test_run_python.py",
        "sandbox/test_stream.py",
    ),
    "resume": _of(
        "kill -9 of the worker in each node: Success, charged once, no artifact twice.",
        "faults/test_killed_worker.py",
        "faults/test_killed_knockout.py",
    ),
    "retention": _of(
        "Old jobs go by dropping partitions; no living job, no credit and no late job is lost.",
        "orchestration/retention/test_retention.py",
        "orchestration/retention/test_migration.py",
        "orchestration/retention/test_command.py",
        "architecture/test_tables.py::test_a_partition_is_reached_through_its_table_alone",
    ),
    "jobs": _of(
        "Lease with heartbeat and fencing token, retries, dead letter, cancel.",
        "orchestration/test_jobs.py",
        "orchestration/test_states.py",
        "faults/test_races.py",
        "faults/test_lane_faults.py",
        "faults/test_restart.py",
    ),
    "nothing-lost": _of(
        "Whatever dies, stops or goes wrong: every accepted job ends once, and the books balance.",
        "faults/test_kill_loops.py",
        "faults/test_history.py",
        "faults/test_failpoints.py",
        "faults/test_cancel_races.py",
        "faults/test_cancelled_statements.py",
        "faults/test_clocks.py",
        "faults/test_crowds.py",
        "faults/test_database_faults.py",
        "faults/test_rolling_restart.py",
        "faults/test_stale_workers.py",
        "simulation/test_differential.py",
        "simulation/test_machine.py",
        "simulation/test_simulation.py",
    ),
    "batches": _of(
        "Jobs are submitted in batches; a refused one refuses only itself.",
        "orchestration/test_lane.py",
        "surfaces/test_tool_jobs.py",
    ),
    "workflows": _of(
        "A workflow definition is validated, documented and runs with steps stored once.",
        "orchestration/workflow/running/test_runs.py",
        "orchestration/workflow/running/test_lane.py",
        "orchestration/workflow/running/test_waits.py",
        "faults/test_workflow_faults.py",
        "orchestration/workflow/test_schema.py",
    ),
    "webhook-on-completion": _of(
        "The end of a job is told to its endpoint: signed, retried, at least once, safely.",
        "orchestration/webhooks/test_signing.py",
        "orchestration/webhooks/test_deliveries.py",
        "orchestration/webhooks/test_endpoints.py",
        "orchestration/webhooks/test_faults.py",
        "surfaces/test_webhooks.py",
        "security/test_egress.py",
    ),
    "secrets": _of(
        "Secrets are sealed one by one, go to their server's origin alone and come out nowhere.",
        "vault/test_vault.py",
        "vault/test_keys.py",
        "kernel/test_scrub.py",
        "proxy/credentials/test_credentials.py",
        "surfaces/test_secrets.py",
        "surfaces/secrets_sent/test_canary.py",
    ),
    "connections": _of(
        "Users connect servers by OAuth: discovery, PKCE, consent, one refresh at a time, step-up.",
        "proxy/oauth/test_connecting.py",
        "proxy/oauth/test_tokens.py",
        "surfaces/test_connecting.py",
        "surfaces/secrets_sent/test_connected_calls.py",
    ),
    "roles": _of(
        "Roles with hand-offs as events; the coder tries again when the evaluator refuses.",
        "agents/test_runner.py",
        "agents/test_routing.py",
    ),
    "paralog": _of(
        "Guides that hit HBD are not chosen; ranking by score alone is refused with the reason.",
        "agents/test_knockout.py",
        "e2e/test_knockout.py::test_the_best_scored_guides_cut_elsewhere_and_are_not_chosen",
    ),
    "other-road": _of(
        "The evaluator recomputes by other code; an independent script agrees.",
        "biotools/test_verify.py",
        "biotools/test_verify_recount.py",
        "e2e/test_knockout.py::test_an_independent_script_finds_the_guides_clean",
    ),
    "scan-exact": _of(
        "The off-target scan is exact up to four mismatches at NGG, NAG and NGA.",
        "biotools/test_off_targets.py::test_equals_plain_reading",
    ),
    "report-schema": _of(
        "report.json has a published JSON Schema.",
        "agents/test_report.py::test_the_published_schema_is_that_of_the_models",
        "e2e/test_knockout.py::test_the_report_keeps_its_schema",
    ),
    "reproducible": _of(
        "The same input gives the same bytes, but for times.",
        "agents/test_knockout.py::test_the_same_bytes_uploaded_again_give_the_same_bytes",
        "e2e/test_knockout.py::test_its_files_are_the_same_by_every_way",
    ),
    "bad-input": _of(
        "Each bad input has its own code; nothing is charged, nothing lost.",
        "e2e/test_bad_input.py",
        "faults/test_tool_faults.py",
        "faults/test_disk_full.py",
    ),
    "conformance": _of(
        "The protocol's own suite passes on /mcp, through the gateway, and as a client of others.",
        "conformance/test_servers.py",
        "conformance/test_upstream.py",
    ),
    "gateway-threats": _of(
        "Every threat to the gateway that was thought of comes to nothing, and costs nothing.",
        "security/gateway/test_threats.py",
        "security/gateway/test_bodies.py",
        "security/gateway/test_crossed.py",
        "security/gateway/test_depth.py",
        "security/gateway/test_headers.py",
        "security/gateway/test_loops.py",
        "security/gateway/test_loops_in_calls.py",
        "security/gateway/test_malformed.py",
        "security/gateway/test_openapi.py",
        "security/gateway/test_stalling.py",
        "security/gateway/test_upstreams.py",
    ),
    "real-clients": _of(
        "Inspector, TypeScript, Python SDK, FastMCP work in both eras; how-tos are tried.",
        "conformance/test_clients.py",
        "conformance/test_howto.py",
    ),
    "client-leaves": _of(
        "A client that goes away never kills a paid run.",
        "surfaces/test_mcp.py::test_a_client_that_goes_away_does_not_stop_the_run",
    ),
    "walls": _of(
        "The layers hold, and a planted violation of each contract is caught.",
        "architecture/test_walls.py",
    ),
    "documented": _of(
        "Every setting and every error code is documented.",
        "architecture/test_docs.py",
    ),
}

# Demands of the platform that are not met yet, so that nobody takes silence for proof.
OPEN: dict[str, str] = {
    "AR-402": "10,000 jobs a second hold on two quiet cores; P95 < 200 ms at that rate does not.",
    "AR-403": "10,000 concurrent connections: not measured.",
    "AR-404": "95 % cache hits: look-ups are served from a snapshot in memory; no metric yet.",
    "AR-405": "99.99 % uptime: not a property of one machine.",
    "sign-in": "E-mail, WeChat and Google sign-in.",
    "payments": "Stripe, WeChat Pay, Alipay, automatic payments.",
    "knowledge": "Documents and know-how in pgvector.",
    "web": "The web front end.",
}
