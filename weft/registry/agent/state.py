"""What the embedded agent knows, and which index each question has: pure, no clock, no I/O.

Consul answers a blocking query when the index of its answer has passed the one the caller knows. What moves which
index, measured on Consul 1.8.7 (the same table is a test):

    event                                   catalog/services   catalog/service/a   health/service/a
    instance of a added, removed, changed         moves              moves              moves
    status of a check of a                          -                  -                moves
    check of a added or removed                     -                  -                moves
    output of a check only                          -                  -                  -
    identical registration                          -                  -                  -
    instance of b added, removed, changed         moves                -                  -
    b's last instance removed                     moves          moves if a is      moves if a is
                                                                  unknown too        unknown too
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from weft.registry.agent.definition import CheckDefinition, CheckKind, ServiceDefinition, Status

T = TypeVar("T")

MAX_TOMBSTONES: Final = 4096


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """An answer and its index; a query blocked on it is woken when *signal* moves."""

    index: int
    value: T
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    definition: ServiceDefinition
    create_index: int
    modify_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    check_id: str
    name: str
    kind: CheckKind
    notes: str
    status: Status
    output: str
    service_id: str
    service_name: str
    service_tags: tuple[str, ...]
    create_index: int
    modify_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KvEntry:
    key: str
    value: bytes
    flags: int
    create_index: int
    modify_index: int


class State:
    """Services, checks and key-value entries of one node.

    Args:
        changed: called after every move of an index, with the new state already in place.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._index = 1
        self._services: dict[str, Service] = {}
        self._checks: dict[str, Check] = {}
        self._services_index = 1  # any instance
        self._instances_index: dict[str, int] = {}  # service -> its instances
        self._service_index: dict[str, int] = {}  # service -> its instances or their checks
        self._extinction_index = 0  # the last time a service lost its last instance
        self._kv: dict[str, KvEntry] = {}
        self._kv_index = 1
        self._tombstones: dict[str, int] = {}  # removed key -> when
        self._tombstones_index = 0  # of the tombstones already forgotten

    # Services and checks

    def register(
        self, definition: ServiceDefinition, checks: Sequence[CheckDefinition], *, replace_checks: bool = True
    ) -> None:
        """Add or change an instance; a check it already has keeps its status and output."""
        known = self._services.get(definition.id)
        if known is not None and known.definition.name != definition.name:
            self.deregister(definition.id)
            known = None
        instance_differs = known is None or known.definition != definition
        now = self._index + 1
        if instance_differs:
            created = now if known is None else known.create_index
            self._services[definition.id] = Service(definition=definition, create_index=created, modify_index=now)
        checks_differ = False
        if replace_checks:
            kept = {check.check_id for check in checks}
            dropped = [check_id for check_id in self.checks_of(definition.id) if check_id not in kept]
            for check_id in dropped:
                del self._checks[check_id]
            checks_differ = bool(dropped)
        for check in checks:
            checks_differ |= self._put_check(definition, check, now)
        if instance_differs or checks_differ:
            self._move(definition.name, instances=instance_differs)

    def deregister(self, service_id: str) -> bool:
        """Forget an instance and its checks; tell whether there was one."""
        service = self._services.pop(service_id, None)
        if service is None:
            return False
        for check_id in self.checks_of(service_id):
            del self._checks[check_id]
        name = service.definition.name
        if any(other.definition.name == name for other in self._services.values()):
            self._move(name, instances=True)
        else:
            del self._service_index[name], self._instances_index[name]
            self._index += 1
            self._services_index = self._extinction_index = self._index
            self._changed()
        return True

    def set_status(self, check_id: str, status: Status, output: str) -> None:
        """Note the outcome of a probe. An unknown check is ignored: it went while its probe was under way."""
        check = self._checks.get(check_id)
        if check is None:
            return
        if check.status == status:
            self._checks[check_id] = replace(check, output=output)
            return
        self._checks[check_id] = replace(check, status=status, output=output, modify_index=self._index + 1)
        self._move(check.service_name, instances=False)

    def service(self, service_id: str) -> Service | None:
        return self._services.get(service_id)

    def check(self, check_id: str) -> Check | None:
        return self._checks.get(check_id)

    def checks_of(self, service_id: str) -> list[str]:
        return sorted(check.check_id for check in self._checks.values() if check.service_id == service_id)

    def services(self) -> list[Service]:
        return list(self._services.values())

    def names(self) -> Reading[dict[str, list[str]]]:
        """Return every service's name with the tags of its instances."""
        tags: dict[str, set[str]] = {}
        for service in self._services.values():
            tags.setdefault(service.definition.name, set()).update(service.definition.tags)
        names = {name: sorted(tags[name]) for name in sorted(tags)}
        return Reading(self._services_index, names, self._services_index)

    def instances(self, name: str) -> Reading[list[Service]]:
        """Return the instances of a service, healthy or not."""
        index = self._index_of(name)
        # A check's status moves the index of this answer but wakes nobody who waits for it: so does Consul 1.8.
        return Reading(index, self._instances(name), self._instances_index.get(name, index))

    def health(self, name: str, *, passing: bool = False) -> Reading[list[tuple[Service, list[Check]]]]:
        """Return the instances of a service with their checks; with *passing*, those whose checks all pass."""
        found = [
            (service, [self._checks[check_id] for check_id in self.checks_of(service.definition.id)])
            for service in self._instances(name)
        ]
        if passing:
            found = [entry for entry in found if all(check.status == "passing" for check in entry[1])]
        index = self._index_of(name)
        return Reading(index, found, index)

    def _instances(self, name: str) -> list[Service]:
        return [self._services[key] for key in sorted(self._services) if self._services[key].definition.name == name]

    def _index_of(self, name: str) -> int:
        # An unknown service has the index of the last extinction, so that an answer never goes back when the last
        # instance leaves, and unrelated changes wake nobody.
        return self._service_index.get(name) or self._extinction_index or self._services_index

    def _put_check(self, service: ServiceDefinition, definition: CheckDefinition, now: int) -> bool:
        known = self._checks.get(definition.check_id)
        if known is not None and known.service_id != service.id:
            known = None
        check = Check(
            check_id=definition.check_id,
            name=definition.name,
            kind=definition.kind,
            notes=definition.notes,
            status=definition.status if known is None else known.status,
            output="" if known is None else known.output,
            service_id=service.id,
            service_name=service.name,
            service_tags=service.tags,
            create_index=now if known is None else known.create_index,
            modify_index=now if known is None else known.modify_index,
        )
        self._checks[definition.check_id] = check
        return known is None or (known.name, known.notes) != (check.name, check.notes)

    def _move(self, name: str, *, instances: bool) -> None:
        self._index += 1
        self._service_index[name] = self._index
        if instances:
            self._instances_index[name] = self._services_index = self._index
        self._changed()

    # Key-value entries

    def kv_get(self, key: str) -> Reading[list[KvEntry]]:
        """Return the entry under *key*, if any; a missing one has the index of the whole table, as in Consul."""
        entry = self._kv.get(key)
        index = self._kv_index if entry is None else entry.modify_index
        return Reading(index, [] if entry is None else [entry], index)

    def kv_list(self, prefix: str) -> Reading[list[KvEntry]]:
        """Return the entries whose keys start with *prefix*, by key."""
        entries = [self._kv[key] for key in sorted(self._kv) if key.startswith(prefix)]
        removed = [index for key, index in self._tombstones.items() if key.startswith(prefix)]
        indexes = [entry.modify_index for entry in entries] + removed
        index = max(*indexes, self._tombstones_index, 1) if indexes else self._kv_index
        return Reading(index, entries, index)

    def kv_put(self, key: str, value: bytes, *, flags: int = 0, cas: int | None = None) -> bool:
        """Store an entry; with *cas*, only over that modify index, 0 for no entry. Tell whether it was stored."""
        known = self._kv.get(key)
        if cas is not None and cas != (0 if known is None else known.modify_index):
            return False
        if known is None or (known.value, known.flags) != (value, flags):
            now = self._index + 1
            created = now if known is None else known.create_index
            self._kv[key] = KvEntry(key=key, value=value, flags=flags, create_index=created, modify_index=now)
            self._tombstones.pop(key, None)
            self._move_kv()
        return True

    def kv_delete(self, key: str, *, recurse: bool = False, cas: int | None = None) -> bool:
        """Remove an entry, or all with that prefix; only a *cas* that does not match makes it fail."""
        doomed = [known for known in self._kv if known.startswith(key)] if recurse else [key] if key in self._kv else []
        if cas is not None and doomed and self._kv[key].modify_index != cas:
            return False
        for gone in doomed:
            del self._kv[gone]
            self._tombstones[gone] = self._index + 1
        while len(self._tombstones) > MAX_TOMBSTONES:
            oldest = next(iter(self._tombstones))
            self._tombstones_index = max(self._tombstones_index, self._tombstones.pop(oldest))
        if doomed:
            self._move_kv()
        return True

    def _move_kv(self) -> None:
        self._index += 1
        self._kv_index = self._index
        self._changed()
