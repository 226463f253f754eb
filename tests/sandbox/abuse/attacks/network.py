"""Attacks over the network: out of the machine, to it, and to what listens on it."""

from app.sandbox import TaskResult
from tests.sandbox.abuse.host import Host, own_addresses
from tests.sandbox.abuse.prelude import Said
from tests.sandbox.abuse.rows import Control, Row, everywhere

# Metadata services, name servers, the usual gateways and what may listen on them.
_FAR = (
    ("169.254.169.254", 80), ("100.100.100.200", 80), ("1.1.1.1", 53), ("8.8.8.8", 443),
    ("172.17.0.1", 2375), ("10.0.0.1", 443), ("192.168.0.1", 80), ("2606:4700::1111", 53),
    ("fd00:ec2::254", 80),
)  # fmt: skip


def _targets(host: Host) -> dict[str, object]:
    own = [(address, host.port) for address in own_addresses()]
    near = [("127.0.0.1", host.port)]
    return {"targets": [*_FAR, *own, *near], "abstract": host.abstract, "names": True}


def _has_no_way(result: TaskResult, said: Said) -> None:
    assert said.told == {"interfaces": ["lo"], "routes": 0}
    near = {what: came for what, came in said.tried.items() if what.startswith("127.")}
    assert set(near.values()) == {"ECONNREFUSED"}
    far = {came for what, came in said.tried.items() if ":" in what and what not in near}
    assert far <= {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"}


ROWS = (
    Row(
        11, "network", "Reach metadata services, gateways, the host's services, name servers.",
        everywhere("network namespace with a loopback of its own and no route"),
        code="""
import socket
for address, port in P["targets"]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(2)
        code = sock.connect_ex((address, port))
        TRIED[f"{address}:{port}"] = errno.errorcode.get(code, str(code)) if code else "done"
def abstract():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\\0" + P["abstract"])
attempt("abstract socket", abstract)
if P["names"]:
    attempt("names", socket.getaddrinfo, "www.example.org", 80)
with open("/proc/net/dev") as file:
    TOLD["interfaces"] = [line.split(":")[0].strip() for line in file.readlines()[2:]]
with open("/proc/net/route") as file:
    TOLD["routes"] = len(file.readlines()[1:])
""",
        params=_targets,
        check=_has_no_way,
        control=Control(
            ("127.*", "abstract socket"),
            lambda host: {"targets": [("127.0.0.1", host.port)], "abstract": host.abstract,
                          "names": False},
        ),
    ),
    Row(
        42, "datagrams", "Send datagrams, which need no connection.",
        everywhere("no route"),
        code="""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    attempt("to itself", sock.sendto, b"x", sock.getsockname())
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    attempt("metadata", sock.sendto, b"x", ("169.254.169.254", 80))
    attempt("name server", sock.sendto, b"x", ("8.8.8.8", 53))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    attempt("everyone", sock.sendto, b"x", ("255.255.255.255", 9))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    attempt("multicast", sock.sendto, b"x", ("ff02::1", 9))
""",
        allowed=("to itself",),
        harmless="A socket without a route reaches nothing but its own sandbox.",
        control=Control(reason="What a host's route lets out should not leave a test."),
    ),
    Row(
        30, "proxy_abuse", "With an allow-list on: reach anything that is not on it.",
        everywhere("the proxy resolves, checks and connects by itself; there is no other way"),
    ),
)  # fmt: skip
