"""Puts users together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from shop.users.v1 import users_pb2

from services.users import store
from services.users.domain import Role, User
from services.users.passwords import Passwords
from services.users.peers import Holders
from services.users.servicer import UsersServicer
from weft.config import load
from weft.data import Database
from weft.security import SigningKey, TokenIssuer
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Config", "ensure_admin", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`USERS_<FIELD>` in the environment."""

    signing_key_file: Path
    """PEM of the P-256 key that access tokens are signed with."""
    admin_email: str | None = None
    """Of an administrator to create at start, unless an account has this address."""
    admin_password: str | None = field(default=None, repr=False)
    hash_threads: int = 2
    """Passwords checked at once, [1, 64]; each takes 19 MiB and a processor for some 20 ms."""

    def __post_init__(self) -> None:
        if (self.admin_email is None) != (self.admin_password is None):
            raise ValueError("USERS_ADMIN_EMAIL and USERS_ADMIN_PASSWORD go together")
        if not 1 <= self.hash_threads <= 64:  # noqa: PLR2004  # as documented
            raise ValueError("USERS_HASH_THREADS is not in [1, 64]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """`WEFT_<FIELD>`: what every service of the mesh expects to read in a token."""

    token_issuer: str = "weft"  # noqa: S105  # a name
    token_audience: str = "weft"  # noqa: S105  # a name


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "USERS")
    tokens = load(TokenConfig, runtime.env, "WEFT")
    key = SigningKey.load(config.signing_key_file)
    issuer = TokenIssuer(key, issuer=tokens.token_issuer, audience=tokens.token_audience)
    async with Database.open(runtime.database_url, application_name=runtime.name) as database:
        with Passwords(threads=config.hash_threads) as passwords:
            if config.admin_email and config.admin_password:
                await ensure_admin(database, passwords, config.admin_email, config.admin_password)
            servicer = UsersServicer(database, passwords, issuer, runtime.outbox, Holders(runtime.peers))
            name = users_pb2.DESCRIPTOR.services_by_name["UsersService"].full_name
            yield Parts(servicers={name: servicer}, database=database)


async def ensure_admin(database: Database, passwords: Passwords, email: str, password: str) -> None:
    """Create an administrator unless an account with this address exists, whatever other replicas do at this moment."""
    if await store.find_credentials(database, email):
        return
    now = datetime.now(UTC)
    admin = User(
        user_id=uuid4(),
        email=email,
        first_name="Shop",
        last_name="Administrator",
        roles=(Role.USER, Role.ADMIN),
        create_time=now,
        update_time=now,
    )
    password_hash = await passwords.hash(password)
    async with database.transaction() as tx:
        await store.make_user(tx, admin, password_hash)


service = Service(name="users", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
