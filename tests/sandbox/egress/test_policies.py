"""The operator's file of policies: what it can say, and every mistake named."""

import json
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.egress import BIO, Policy, egress_summary, load_policies
from app.sandbox.egress.policies import is_host
from app.sandbox.types import EgressCall

LAB = """
policies:
  lab:
    hosts:
      Data.Lab.example: [443, 8443]
      mirror.lab.example: [80]
    bytes_down: 1000
    connections: 2
    seconds: 5
"""


def load(folder: Path, text: str | bytes) -> dict[str, Policy]:
    path = folder / "egress.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return dict(load_policies(path))


def test_without_a_file_there_is_bio() -> None:
    assert load_policies(None) == {"bio": BIO}
    assert BIO.ports("eutils.ncbi.nlm.nih.gov") == {443}
    assert BIO.ports("evil.ncbi.nlm.nih.gov") == frozenset()
    assert all(is_host(host) and ports == {443} for host, ports in BIO.hosts.items())


def test_a_policy_of_the_operators(tmp_path: Path) -> None:
    found = load(tmp_path, LAB)
    assert found.keys() == {"bio", "lab"}
    lab = found["lab"]
    assert lab.hosts == {
        "data.lab.example": frozenset({443, 8443}), "mirror.lab.example": frozenset({80})
    }  # fmt: skip
    assert (lab.bytes_down, lab.bytes_up, lab.connections) == (1000, Policy.bytes_up, 2)
    assert (lab.plain_ports, lab.seconds) == ({80}, 5.0)


def test_json_is_yaml(tmp_path: Path) -> None:
    entry = {"hosts": {"a.example": [8080]}, "plain_ports": [8080]}
    found = load(tmp_path, json.dumps({"policies": {"web": entry}}))
    assert found["web"].plain_ports == {8080}


def test_bio_can_be_replaced_and_taken_away(tmp_path: Path) -> None:
    replaced = load(tmp_path, "policies: {bio: {hosts: {a.example: [443]}}}")
    assert replaced["bio"].hosts == {"a.example": frozenset({443})}
    assert load(tmp_path, "policies: {bio: null}") == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ("policies: []", "policies"),
        ("policy: {}", "polic"),
        ("policies: {Lab: {hosts: {a.example: [443]}}}", "policies.Lab"),
        ("policies: {yes: {hosts: {a.example: [443]}}}", "policies.1"),
        ("policies: {lab: {}}", "policies.lab.hosts"),
        ("policies: {lab: {hosts: {}}}", "policies.lab.hosts"),
        ("policies: {lab: {hosts: [a.example]}}", "policies.lab.hosts"),
        ("policies: {lab: {hosts: {a.example: []}}}", "policies.lab.hosts.a.example"),
        ("policies: {lab: {hosts: {a.example: 443}}}", "policies.lab.hosts.a.example"),
        ("policies: {lab: {hosts: {a.example: ['443']}}}", "policies.lab.hosts.a.example.0"),
        ("policies: {lab: {hosts: {a.example: [0]}}}", "policies.lab.hosts.a.example.0"),
        ("policies: {lab: {hosts: {a.example: [70000]}}}", "policies.lab.hosts.a.example.0"),
        ("policies: {lab: {hosts: {a.example: [true]}}}", "policies.lab.hosts.a.example.0"),
        ("policies: {lab: {hosts: {'*.example.org': [443]}}}", "names are exact"),
        ("policies: {lab: {hosts: {10.0.0.1: [443]}}}", "an address is never allowed"),
        ("policies: {lab: {hosts: {'::1': [443]}}}", "an address is never allowed"),
        ("policies: {lab: {hosts: {localhost: [443]}}}", "no host name"),
        ("policies: {lab: {hosts: {a.example.: [443]}}}", "no host name"),
        ("policies: {lab: {hosts: {https://a.example: [443]}}}", "no host name"),
        ("policies: {lab: {hosts: {dät.example: [443]}}}", "no host name"),
        ("policies: {lab: {hosts: {a.1: [443]}}}", "no host name"),
        ("policies: {lab: {hosts: {a.example: [443]}, host: 1}}", "policies.lab.host"),
        ("policies: {lab: {hosts: {a.example: [443]}, bytes_up: 0}}", "policies.lab.bytes_up"),
        ("policies: {lab: {hosts: {a.example: [443]}, bytes_up: 1.5}}", "policies.lab.bytes_up"),
        ("policies: {lab: {hosts: {a.example: [443]}, bytes_up: 9G}}", "policies.lab.bytes_up"),
        ("policies: {lab: {hosts: {a.example: [443]}, seconds: .inf}}", "policies.lab.seconds"),
        ("policies: {lab: {hosts: {a.example: [443]}, idle_s: -1}}", "policies.lab.idle_s"),
        ("policies: {lab: {hosts: {a.example: [443]}, connections: 999}}", "connections"),
        ("policies: {lab: 1}\npolicies: {lab: 2}", "given twice"),
        ("policies: {lab: {hosts: {a.example: [1], a.example: [2]}}}", "given twice"),
        ("policies: {lab: {hosts: {a.example: [443], A.example: [80]}}}", "given twice"),
        ("policies: {", "not valid YAML"),
        ("policies: !!python/object:os.system {}", "not valid YAML"),
        (b"\xff\xfe", "not valid YAML"),
        ("#" * (2**20 + 1), "larger than"),
    ],
)
def test_a_mistake_is_named(text: str | bytes, named: str, tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        load(tmp_path, text)
    assert caught.value.code is Code.CONFIG_INVALID
    assert named in caught.value.message
    assert "UAOL_SANDBOX_EGRESS" in (caught.value.hint or "")
    assert str(tmp_path) in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="No such file") as caught:
        load_policies(tmp_path / "none.yaml")
    assert caught.value.code is Code.CONFIG_INVALID


def test_the_trace_sums_calls() -> None:
    calls = [
        EgressCall("a.example", 443, 1, 10, 5, "allowed"),
        EgressCall("a.example", 443, 2, 20, 6, "allowed"),
        EgressCall("b.example", 22, 0, 0, 1, "refused", "host_not_allowed"),
    ]
    told = {"host": "a.example", "port": 443, "verdict": "allowed", "reason": ""}
    assert egress_summary(calls) == [
        {**told, "calls": 2, "bytes_up": 3, "bytes_down": 30, "ms": 11},
        {
            "host": "b.example", "port": 22, "verdict": "refused", "reason": "host_not_allowed",
            "calls": 1, "bytes_up": 0, "bytes_down": 0, "ms": 1,
        },
    ]  # fmt: skip
