from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.registry import RegistryConfig, load_config
from app.registry.config import parse_config, parse_yaml

BIOMNI = """
mcp_servers:
  pubmed:
    command: ["python", "-m", "tools.pubmed_mcp"]
    enabled: true
    description: "Search PubMed"
    env:
      API_KEY: "${MY_KEY}"
      FIXED: "x"
    tools:
      - biomni_name: search_pubmed
        description: "Search PubMed"
        parameters:
          query: {type: str, required: true, description: "term"}
          max_results: {type: int, required: false, default: 10}
  hosted:
    url: "https://example.com/mcp"
    headers: {Authorization: "Bearer ${MY_KEY}"}
"""


def read(text: str, environ: dict[str, str] | None = None) -> RegistryConfig:
    return parse_config(parse_yaml(text.encode()), environ or {})


def refused(text: str, environ: dict[str, str] | None = None) -> AppError:
    with pytest.raises(AppError) as caught:
        read(text, environ)
    assert caught.value.code is Code.CONFIG_INVALID
    assert caught.value.hint
    return caught.value


def server(line: str) -> str:
    return f"mcp_servers:\n  s:\n    command: [x]\n    {line}\n"


def test_reads_a_biomni_configuration() -> None:
    pubmed, hosted = read(BIOMNI, {"MY_KEY": "secret"}).servers
    assert pubmed.command == ("python", "-m", "tools.pubmed_mcp")
    assert pubmed.env == {"API_KEY": "secret", "FIXED": "x"}
    assert pubmed.tools is not None
    assert pubmed.tools[0].name == "search_pubmed"
    assert pubmed.tools[0].input_schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "term"},
            "max_results": {"type": "integer", "default": 10},
        },
        "required": ["query"],
    }
    assert hosted.url == "https://example.com/mcp"
    assert hosted.headers == {"Authorization": "Bearer secret"}
    assert (pubmed.is_trusted, pubmed.prices.of("search_pubmed")) == (False, 0)


def test_secrets_stay_out_of_the_repr() -> None:
    assert "s3cr3t" not in repr(read(BIOMNI, {"MY_KEY": "s3cr3t"}))


def test_the_bundled_configuration_is_valid_and_trusted() -> None:
    servers = load_config(Path(__file__).parents[2] / "mcp_config.yaml", {}).servers
    assert [item.name for item in servers] == ["sequence", "crispr", "cloning", "verify"]
    assert all(item.is_trusted and item.command for item in servers)
    crispr = servers[1]
    assert crispr.prices.of("find_off_targets") == 50_000
    assert crispr.prices.of("enumerate_guides") == 10_000


def test_a_command_may_be_one_string_with_args() -> None:
    text = "mcp_servers:\n  s:\n    command: npx -y 'a b'\n    args: [--port, '1']\n"
    assert read(text).servers[0].command == ("npx", "-y", "a b", "--port", "1")


def test_an_unset_variable_is_a_mistake_unless_the_server_is_off() -> None:
    error = refused(BIOMNI)
    assert error.details["key"] == "mcp_servers.pubmed.env.API_KEY"
    assert "MY_KEY" in error.message
    off = BIOMNI.replace("enabled: true", "enabled: false").replace("Bearer ${MY_KEY}", "none")
    assert read(off).servers[0].is_enabled is False


@pytest.mark.parametrize(
    ("price", "micro"),
    [("0.01", 10_000), ("1", 1_000_000), ("0.000001", 1), ("'2.5'", 2_500_000), ("1e-3", 1000)],
)
def test_prices_are_exact(price: str, micro: int) -> None:
    assert read(server(f"price: {price}")).servers[0].prices.default_micro == micro


@pytest.mark.parametrize(
    "price",
    [
        *("-1", "0.0000001", ".nan", ".inf", "true", "'1e99999999'", "abc", "[1]", "1000001"),
        *("{1: 2}", "'0.0000010000000000000000000000000000000001'"),
    ],
)
def test_prices_that_are_none_are_refused(price: str) -> None:
    assert refused(server(f"price: {price}")).details["key"].startswith("mcp_servers.s.price")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[1]", "the file"),
        ("servers: {}", "the file.servers"),
        ("mcp_servers: 3", "mcp_servers"),
        ("mcp_servers: {A: {command: [x]}}", "mcp_servers.A"),
        ("mcp_servers: {sandbox: {command: [x]}}", "mcp_servers.sandbox"),
        ("mcp_servers: {s: {}}", "mcp_servers.s"),
        ("mcp_servers: {s: {command: [x], url: 'https://a'}}", "mcp_servers.s"),
        ("mcp_servers: {s: {command: []}}", "mcp_servers.s.command"),
        ('mcp_servers: {s: {command: "a \'b"}}', "mcp_servers.s.command"),
        ("mcp_servers: {s: {url: 'ftp://a'}}", "mcp_servers.s.url"),
        ("mcp_servers: {s: {url: 'https://u:p@a'}}", "mcp_servers.s.url"),
        ("mcp_servers: {s: {url: 'https://a:999999'}}", "mcp_servers.s.url"),
        ("mcp_servers: {s: {url: 'https://a', transport: websocket}}", "mcp_servers.s.transport"),
        ("mcp_servers: {s: {url: 'https://a', args: [b]}}", "mcp_servers.s.args"),
        (server("enabled: 1"), "mcp_servers.s.enabled"),
        (server("timeout: 0"), "mcp_servers.s.timeout"),
        (server("timeout: .nan"), "mcp_servers.s.timeout"),
        (server("timout: 5"), "mcp_servers.s.timout"),
        (server("env: {'A B': c}"), "mcp_servers.s.env.A B"),
        (server("env: {A: [c]}"), "mcp_servers.s.env.A"),
        (server('headers: {A: "b\\nc: d"}'), "mcp_servers.s.headers.A"),
        (server("hosts: ['a b']"), "mcp_servers.s.hosts"),
        (server("tools: {a: b}"), "mcp_servers.s.tools"),
        (server("tools: [a, a]"), "mcp_servers.s.tools"),
        (server("tools: [{biomni_name: 'a b'}]"), "mcp_servers.s.tools[0].biomni_name"),
        (
            server("tools: [{name: a, parameters: {p: {type: x}}}]"),
            "mcp_servers.s.tools[0].parameters.p.type",
        ),
        ("mcp_servers: {s: {command: [x]}, s: {command: [y]}}", "s"),
    ],
)
def test_a_mistake_names_its_key(text: str, key: str) -> None:
    assert refused(text).details["key"] == key


@pytest.mark.parametrize("text", ["a: [", "\t", "a: 2001-99-99", "? [a]\n: b", "[" * 5000, "a: \0"])
def test_what_is_no_yaml_is_refused(text: str) -> None:
    assert "YAML" in refused(text).message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="cannot be read") as caught:
        load_config(tmp_path / "none.yaml", {})
    assert caught.value.code is Code.CONFIG_INVALID


WORDS = """
mcp_servers s command args env url headers price hosts timeout trusted enabled tools
biomni_name name parameters type default required description transport * str
"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.binary(), KEYS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(KEYS, st.text(), st.integers(), st.none()), inner, max_size=5),
    ),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "command": st.one_of(VALUES, st.lists(st.text(), min_size=1)),
        "url": st.one_of(VALUES, st.text().map(lambda text: f"https://{text}")),
        "env": st.one_of(VALUES, st.dictionaries(KEYS, VALUES)),
        "price": VALUES,
        "timeout": VALUES,
        "hosts": VALUES,
        "tools": st.one_of(VALUES, st.lists(st.dictionaries(KEYS, VALUES, max_size=4))),
    },
)


def code_of(value: object) -> Code | None:
    try:
        parse_config(value, {})
    except AppError as error:
        return error.code
    return None


@given(st.one_of(VALUES, ENTRIES.map(lambda entry: {"mcp_servers": {"s": entry}})))
def test_any_value_is_read_or_refused(value: object) -> None:
    assert code_of(value) in (None, Code.CONFIG_INVALID)


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = parse_yaml(text.encode("utf-8", "surrogatepass"))
    except AppError as error:
        value = error.code
    assert value is Code.CONFIG_INVALID or code_of(value) in (None, Code.CONFIG_INVALID)
