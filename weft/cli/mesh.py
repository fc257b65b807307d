"""What a mesh on one machine consists of, and in which order it comes up."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from weft.cli import local, probes
from weft.cli.databases import EmbeddedServer, ExternalServer
from weft.cli.forked import Forked, Forkserver
from weft.cli.processes import Child, ProcessFailed, Program, Runnable, Spec, Stage, output_of, rotate_log
from weft.cli.programs import consul_command, envoy_command, nats_command, nats_config
from weft.cli.terminal import without_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.cli.supervisor import Supervised, Supervisor
    from weft.cli.terminal import Terminal

__all__ = ["Mesh", "Options"]

HOST: Final = "127.0.0.1"
REPLICAS_POLL_S: Final = 0.1
"""Asking for many services at once should not slow their start."""
READY_S: Final = 60.0
"""Longest wait for one part; a cold disk may need much of it."""
SERVICE_STOP_S: Final = 20.0
"""What a service gets for its last calls before it is killed; more than it takes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a mesh is to be started.

    Attributes:
        replicas: instances of each service, at least 0; those not named have one.
        registry_url: a Consul agent that runs already; None starts one of the kind *registry*.
        database_url: a PostgreSQL server that runs already, as a role that may create roles and databases.
        broker_url: a broker that runs already; None starts NATS.
        env: what every process inherits.
    """

    port: int = 8080
    replicas: Mapping[str, int] = field(default_factory=dict)
    registry: Literal["embedded", "consul"] = "embedded"
    registry_url: str | None = None
    registry_token: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    broker_url: str | None = field(default=None, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Mesh:
    """The parts of one mesh. `bring_up` starts them; the supervisor stops them."""

    def __init__(
        self, options: Options, project: Project, state: State, supervisor: Supervisor, terminal: Terminal
    ) -> None:
        self.supervisor = supervisor
        self._xds_port, self._admin_port, self._broker_port, *self._registry_ports = probes.free_ports(6)
        self.registry_url = options.registry_url or f"http://{HOST}:{self._registry_ports[0]}"
        self.gateway_url = f"http://{HOST}:{options.port}"
        self._options = options
        self._project = project
        self._state = state
        self._terminal = terminal
        self._prepared = local.Prepared()
        self.database_urls: Mapping[str, str] = {}
        self._forkserver: Forkserver | None = None
        self._waiting: list[str] = []

    @property
    def urls(self) -> dict[str, str]:
        return {
            "gateway": self.gateway_url,
            "registry": self.registry_url,
            "xds": f"{HOST}:{self._xds_port}",
            "envoy admin": f"http://{HOST}:{self._admin_port}",
            "broker": without_password(self.broker_url),
        }

    @property
    def broker_url(self) -> str:
        """With the password, if it has one."""
        return self._options.broker_url or f"nats://{HOST}:{self._broker_port}"

    def services(self) -> dict[str, int]:
        """Return the services to run and their numbers of replicas."""
        counts = {name: self._options.replicas.get(name, 1) for name in self._project.service_names()}
        return {name: count for name, count in counts.items() if count}

    async def bring_up(self) -> None:
        """Start everything and return when a call through the gateway would be answered.

        Raises:
            ProcessFailed: in an `ExceptionGroup`; parts did not come up, others may be running.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_registry())
            broker = group.create_task(self._start_broker())
            databases = group.create_task(self._start_databases())
            await self._start_forkserver()
            self._prepared = await self._prepare()
            for name, (module, *arguments) in self._prepared.programs.items():
                command = (sys.executable, "-P", "-m", module, *arguments)
                group.create_task(self._start(name, Stage.SERVICE, command, self._project.import_path()))
            group.create_task(self._start_gateway())
            self.database_urls = await databases
            await broker  # nothing is published before there are queues for it
            for service, count in self.services().items():
                group.create_task(self._start_service(service, count))
        async with self._awaited("routes", self._state.logs / "envoy.log"):
            await probes.until(self._has_routes, READY_S)

    async def fill(self) -> list[tuple[str, str]]:
        """Let the project put its data in, if it has any; return rows for the table. Raises `ProcessFailed`."""
        if self._project.local is None:
            return []
        log = self._state.logs / "local.log"
        async with self._awaited("data", log):
            return await local.fill(self._project, self._state.path, self.gateway_url, self._env("local"), log)

    async def start_replica(self, service: str, name: str, log: Path) -> Supervised:
        """Start one more instance of *service*; `is_passing` tells when it may be called."""
        prefix = service.upper().replace("-", "_")
        url = self.database_urls.get(service)
        env = self._env(service) | ({f"{prefix}_DATABASE_URL": url} if url else {})
        spec = Spec(name=name, stage=Stage.SERVICE, log=log, service=service, stop_s=SERVICE_STOP_S)
        return await self.supervisor.start(spec, self._weft(("run", service), env, log))

    def _weft(self, arguments: tuple[str, ...], env: Mapping[str, str], log: Path) -> Runnable:
        """Return the `weft` command of *arguments* as a process to be: a fork where there is a fork server."""
        if self._forkserver is not None:
            return Forked(self._forkserver, Program(command=arguments, env=env, cwd=self._project.root, log=log))
        command = (sys.executable, "-P", "-m", "weft.cli", *arguments)
        return Child(Program(command=command, env=env, cwd=self._project.root, log=log))

    async def health_entries(self, service: str) -> list[dict[str, Any]]:
        """Return what the registry says about the instances of *service*, as Consul words it."""
        return await probes.health_entries(self.registry_url, service, token=self._options.registry_token)

    async def is_passing(self, replicas: Sequence[Supervised]) -> bool:
        """Tell whether the registry holds a passing instance of each of *replicas*, which are of one service."""
        service = replicas[0].spec.service
        assert service is not None, "only services are registered"
        entries = await self.health_entries(service)
        passing = {entry["Service"]["Port"] for entry in entries if probes.health_of(entry) == "passing"}
        if len(passing) < len(replicas):
            return False
        return all(each.pid and passing & probes.listening_ports(each.pid) for each in replicas)

    async def _prepare(self) -> local.Prepared:
        log = self._fresh_log("local")
        return await local.prepare(self._project, self._state.path, self._env("local"), log)

    async def _start_databases(self) -> Mapping[str, str]:
        """Return service -> URL of its database, for those that keep data."""
        names = [name for name in self.services() if self._project.has_database(name)]
        if not names:
            return {}
        if self._options.database_url is None:
            server: EmbeddedServer | ExternalServer = EmbeddedServer(self._state.path / "postgres")
        else:
            server = ExternalServer(self._options.database_url, self._state.path / "databases.json")
        async with self._awaited("postgres", None):
            if isinstance(server, EmbeddedServer):
                spec = Spec(name="postgres", stage=Stage.DATABASE, log=server.log, stop_s=30)
                await self.supervisor.start(spec, server)
            try:
                return {name: await asyncio.to_thread(server.ensure_database, name.replace("-", "_")) for name in names}
            except Exception as error:  # whatever the driver calls it, here it means one thing
                raise ProcessFailed(f"databases can't be made: {' '.join(str(error).split())}") from error

    async def _start_forkserver(self) -> None:
        if sys.platform != "linux":
            return
        log = self._fresh_log("forkserver")
        command = (sys.executable, "-P", "-m", "weft.cli.forkserver")
        env = self._env("forkserver") | self._project.import_path()
        server = Forkserver(Program(command=command, env=env, cwd=self._project.root, log=log))
        await self.supervisor.start(Spec(name="forkserver", stage=Stage.FORKSERVER, log=log), server)
        self._forkserver = server

    async def _start_registry(self) -> None:
        log = self._state.logs / "registry.log"
        if self._options.registry_url is None:
            command: tuple[str, ...] = (
                sys.executable, "-P", "-m", "weft.registry.agent", "--port", str(self._registry_ports[0]),
            )  # fmt: skip
            if self._options.registry == "consul":
                command = consul_command(self._project.root, *self._registry_ports)
            await self._start("registry", Stage.REGISTRY, command)
        async with self._awaited("registry", log):
            await probes.until(self._has_leader, READY_S)

    async def _start_broker(self) -> None:
        if self._options.broker_url is None:
            config = self._state.path / "nats.conf"
            config.write_text(nats_config(self._broker_port, self._state.path / "nats"))
            broker = await self._start("nats", Stage.BROKER, nats_command(config))
            async with self._awaited("broker", broker.spec.log):
                await probes.until(lambda: probes.is_listening(self._broker_port), READY_S)
            return
        log = self._fresh_log("broker")
        async with self._awaited("broker", log):
            command = (sys.executable, "-P", "-m", "weft.cli", "declare")
            program = Program(command=command, env=self._env("broker"), cwd=self._project.root, log=log)
            said = await output_of("declaring subscriptions", program)
            log.write_bytes(said)

    async def _has_leader(self) -> bool:
        answer = await probes.fetch(f"{self.registry_url}/v1/status/leader", token=self._options.registry_token)
        return answer is not None and len(answer.strip()) > len('""')

    async def _start_gateway(self) -> None:
        """Start the control plane, and Envoy once it can ask it."""
        env = {
            "WEFT_LISTEN": f"{HOST}:{self._xds_port}",
            "WEFT_IMAGE": str(self._project.image_path),
            "WEFT_GATEWAY_ADDRESS": HOST,
            "WEFT_GATEWAY_PORT": str(self._options.port),
        }
        control = await self._start("control", Stage.CONTROL, (sys.executable, "-P", "-m", "weft.control"), env)
        bootstrap = self._state.path / "envoy.yaml"
        bootstrap.write_bytes(await self._render_bootstrap())
        async with self._awaited("control", control.spec.log):
            await probes.until(lambda: probes.is_listening(self._xds_port), READY_S)
        envoy = await self._start("envoy", Stage.GATEWAY, envoy_command(bootstrap))
        async with self._awaited("gateway", envoy.spec.log):
            await probes.until(self._is_healthy, READY_S)

    async def _render_bootstrap(self) -> bytes:
        """Ask `weft.gateway` in a process that ends: its messages take 20 MB, which the supervisor needs only once."""
        source = (
            "import os; from weft.gateway import GatewayConfig, bootstrap;"
            "limit = os.environ.get('WEFT_GATEWAY_MAX_CONNECTIONS') or GatewayConfig().max_connections;"
            "gateway = GatewayConfig(max_connections=int(limit));"
            f"print(bootstrap(gateway, xds_port={self._xds_port}, admin_port={self._admin_port}))"
        )
        command = (sys.executable, "-P", "-c", source)
        log = self._fresh_log("bootstrap")
        program = Program(command=command, env=self._env("control"), cwd=self._project.root, log=log)
        return await output_of("the gateway's bootstrap", program)

    async def _is_healthy(self) -> bool:
        return await probes.fetch(f"{self.gateway_url}/healthz") is not None

    async def _has_routes(self) -> bool:
        """Tell whether Envoy has learnt of an instance of every service."""
        body = await probes.fetch(f"http://{HOST}:{self._admin_port}/clusters?format=json")
        clusters = json.loads(body).get("cluster_statuses", ()) if body else ()
        return {each["name"] for each in clusters if each.get("host_statuses")} >= self.services().keys()

    async def _start_service(self, service: str, count: int) -> None:
        names = [service if number == 1 else f"{service}.{number}" for number in range(1, count + 1)]
        replicas = [await self.start_replica(service, name, self._fresh_log(name)) for name in names]
        async with self._awaited(service if count == 1 else f"{service} x {count}", replicas[0].spec.log):
            await probes.until(lambda: self.is_passing(replicas), READY_S, poll_s=REPLICAS_POLL_S)

    async def _start(
        self, name: str, stage: Stage, command: tuple[str, ...], env: dict[str, str] | None = None
    ) -> Supervised:
        log = self._fresh_log(name)
        program = Program(command=command, env=self._env(name) | (env or {}), cwd=self._project.root, log=log)
        return await self.supervisor.start(Spec(name=name, stage=stage, log=log), Child(program))

    def _env(self, name: str) -> dict[str, str]:
        """Return the environment of the process or service *name*."""
        inherited = self._options.env
        no_proxy = inherited.get("no_proxy") or inherited.get("NO_PROXY")
        common = {
            "PYTHONUNBUFFERED": "1",  # the last words of a process that dies must reach its log
            # Large blocks go back to the system when they are freed: glibc would keep those of password hashing, 37 MB.
            "MALLOC_MMAP_THRESHOLD_": "1048576",
            "no_proxy": ",".join(filter(None, (no_proxy, HOST, "localhost"))),  # gRPC heeds proxy settings
            "WEFT_ADDRESS": HOST,
            "WEFT_PORT": "0",  # one fixed in the shell would be everybody's
            "WEFT_METRICS_PORT": "0",
            "WEFT_LOG_FORMAT": "json",
            "WEFT_REGISTRY_URL": self.registry_url,
            "WEFT_XDS_SERVER": f"{HOST}:{self._xds_port}",
            "WEFT_BROKER_URL": self.broker_url,
            "WEFT_SERVICE_KEY_DIR": str(local.service_key_dir(self._state.path)),
        }
        if self._options.registry_token is not None:
            common["WEFT_REGISTRY_TOKEN"] = self._options.registry_token
        prepared = self._prepared.env
        return {**prepared.get("", {}), **prepared.get(name, {}), **inherited, **common}

    def _fresh_log(self, name: str) -> Path:
        log = self._state.logs / f"{name}.log"
        rotate_log(log)
        return log

    @asynccontextmanager
    async def _awaited(self, label: str, log: Path | None) -> AsyncIterator[None]:
        """Show that *label* is waited for, then that it is there, or fail with the end of *log*."""
        self._waiting.append(label)
        self._terminal.waiting_for(self._waiting)
        try:
            yield
        except TimeoutError as error:
            raise ProcessFailed(f"{label} is not ready after {READY_S:.0f} s", log) from error
        finally:
            self._waiting.remove(label)
        self._terminal.done(label)
        self._terminal.waiting_for(self._waiting)
