"""Real tasks by the real runner, in pods of a pretended cluster: cold, warm and in sessions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.sandbox import InputFile, Options, PooledExecutor, PoolPlan, Sandbox, TaskResult, TaskSpec
from app.sandbox.executors.kubernetes.access import Access
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.making import make_sandbox
from tests.sandbox.conftest import SMALL, timed_out
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.conftest import SITE
from tests.sandbox.kubernetes.programs import until

pytestmark = pytest.mark.anyio

COLD = PoolPlan(least=0, most=0)


def executor_of(cluster: Cluster, pool: PoolPlan = COLD) -> PooledExecutor:
    backend = KubernetesBackend(SITE, lambda _context: Access(cluster.url))
    return PooledExecutor(backend, Options(SMALL, pool))


@pytest.fixture
async def executor(cluster: Cluster) -> AsyncIterator[PooledExecutor]:
    opened = executor_of(cluster)
    yield opened
    await opened.close()
    await until(lambda: not cluster.jobs and not cluster.pods)


def task(code: str, **more: object) -> TaskSpec:
    return replace(TaskSpec("task", code, limits=SMALL), **more)  # type: ignore[arg-type]


async def test_the_self_test_passes(cluster: Cluster) -> None:
    sandbox = Sandbox([executor_of(cluster)])
    status = await sandbox.start()
    assert (status.available, status.reason) == (True, "")
    assert status.executor == "kubernetes"
    await sandbox.close()


async def test_code_runs_and_files_come_and_go(executor: PooledExecutor, tmp_path: Path) -> None:
    source = tmp_path / "reads"
    source.write_bytes(bytes(range(256)) * 4000)
    code = (
        "import sys\n"
        "data = open('/task/input/reads.bin', 'rb').read()\n"
        "open('copy.bin', 'wb').write(data[::-1])\n"
        "print('said', file=sys.stderr)\n"
        "len(data)\n"
    )
    result = await executor.run(task(code, input_files=(InputFile("reads.bin", source),)))
    assert (result.status, result.exit_code, result.value) == ("ok", 0, "1024000")
    assert result.stderr == "said\n"
    (file,) = result.files
    assert file.content == source.read_bytes()[::-1]
    assert (result.executor, result.level) == ("kubernetes", "container")
    assert result.usage.peak_memory_bytes > 2**20


async def test_nothing_of_the_cluster_is_to_be_seen(executor: PooledExecutor) -> None:
    code = (
        "import os\n"
        "print([name for name in os.environ if 'KUBE' in name])\n"
        "print(os.path.exists('/var/run/secrets'), os.getuid() != 0)\n"
        "print(open('/proc/self/status').read().split('Seccomp:')[1].split()[0])\n"
        "print(sorted(os.listdir('/proc/self/fd')))\n"
    )
    lines = (await executor.run(task(code))).stdout.splitlines()
    assert lines[:3] == ["[]", "False True", "2"]


async def test_time_runs_out(executor: PooledExecutor) -> None:
    code = "print('waiting', flush=True)\nwhile True: pass"

    def run(wall_s: float) -> Awaitable[TaskResult]:
        return executor.run(task(code, limits=replace(SMALL, wall_s=wall_s)))

    result = await timed_out(run, 0.5)
    assert (result.status, result.stdout) == ("timeout", "waiting\n")


async def test_too_much_memory(executor: PooledExecutor) -> None:
    result = await executor.run(task("bytearray(2**31)"))
    assert result.status == "oom"
    assert "MemoryError" in result.stderr


async def test_out_of_memory_by_the_kernels_judgement(
    executor: PooledExecutor, cluster: Cluster
) -> None:
    running = asyncio.create_task(executor.run(task(WAIT)))
    name = await started(cluster)
    await cluster.oom(name)
    assert (await running).status == "oom"


async def test_an_evicted_task_is_no_fault_of_its_own(
    executor: PooledExecutor, cluster: Cluster
) -> None:
    running = asyncio.create_task(executor.run(task(WAIT)))
    await cluster.evict(await started(cluster))
    result = await running
    assert result.status == "infra_error"
    assert "Evicted: The node was low on resource" in result.stderr


async def test_cancel(executor: PooledExecutor, cluster: Cluster) -> None:
    running = asyncio.create_task(executor.run(task(WAIT)))
    await started(cluster)
    await executor.cancel("task")
    assert (await running).status == "killed"


async def test_a_full_quota_is_an_error_of_ours(executor: PooledExecutor, cluster: Cluster) -> None:
    await executor.capabilities()
    cluster.pod_quota = 0
    result = await executor.run(task("print(1)"))
    assert result.status == "infra_error"
    assert "exceeded quota" in result.stderr


async def test_a_slow_start_is_waited_for(executor: PooledExecutor, cluster: Cluster) -> None:
    await executor.capabilities()
    gate, run = asyncio.Event(), cluster.run

    async def late(name: str) -> None:
        cluster.set_state(name, {"waiting": {"reason": "ContainerCreating"}}, "Pending")
        await gate.wait()
        await run(name)

    cluster.kubelet = late
    running = asyncio.create_task(executor.run(task("print(6 * 7)")))
    await until(lambda: bool(cluster.pods))
    cluster.drop_watches()
    gate.set()
    assert (await running).stdout == "42\n"


async def test_a_session_keeps_its_names(executor: PooledExecutor, cluster: Cluster) -> None:
    first = await executor.run(task("x = 20", session_id="s", owner="o"))
    second = await executor.run(task("x + 22", session_id="s", owner="o"))
    assert (first.status, second.value, second.session_runs) == ("ok", "42", 2)
    assert len(cluster.pods) == 1


async def test_warm_pods_are_used_once(cluster: Cluster) -> None:
    executor = executor_of(cluster, PoolPlan(least=1, most=2))
    await executor.warm()
    await until(lambda: sum(executor.pool.waiting().values()) >= 1)
    before = set(cluster.pods)
    result = await executor.run(task("print('quick')"))
    assert (result.stdout, result.is_warm) == ("quick\n", True)
    await executor.settle()
    assert before - set(cluster.pods)
    await executor.close()
    assert (cluster.jobs, cluster.pods) == ({}, {})


async def test_there_is_no_way_out(executor: PooledExecutor) -> None:
    with pytest.raises(AppError) as caught:
        await executor.run(task("pass", egress="bio"))
    assert caught.value.code is Code.INVALID_INPUT


def test_policies_of_egress_are_refused_at_the_start(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, sandbox_executor="kubernetes", sandbox_egress=tmp_path / "egress.yaml"
    )
    with pytest.raises(AppError, match="no egress policies"):
        make_sandbox(settings)
    made = make_sandbox(Settings(home=tmp_path, sandbox_executor="kubernetes"))
    assert made.policies == ()


WAIT = "import signal\nprint('task-is-on', flush=True)\nwhile True: signal.pause()"


async def started(cluster: Cluster) -> str:
    """The name of the pod in which a task has begun to print."""
    await until(lambda: any(b"task-is-on" in one.log for one in cluster.containers.values()))
    return next(name for name, one in cluster.containers.items() if b"task-is-on" in one.log)
