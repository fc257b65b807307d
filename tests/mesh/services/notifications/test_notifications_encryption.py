"""What an SMTP server has to be before it gets a password."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.mesh.services.notifications.parts import confirmed
from tests.mesh.services.notifications.providers import MailServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.mesh.services.notifications.parts import Desk

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that is its own authority; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


async def test_a_password_goes_to_a_server_of_the_right_name_only_and_only_encrypted(
    desk: Desk, tmp_path: Path, eventually: Eventually
) -> None:
    chain, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    await desk.hear(confirmed(await desk.given()))

    async with MailServer(passwords={b"shop": b"ge:heim@"}).serving(context) as mail:
        url = f"smtp://shop:ge%3Aheim%40@localhost:{mail.port}"
        async with desk.at_work(mail_url=url):

            async def failed() -> bool:
                return any(each.failure_reason == "SERVER_UNAVAILABLE" for each in await desk.history())

            await eventually(failed)
        async with desk.at_work(mail_url=url.replace("ge%3Aheim", "wrong"), mail_ca_file=chain):

            async def was_refused() -> bool:
                return any(each.failure_reason == "AUTHENTICATION_FAILED" for each in await desk.history())

            await eventually(was_refused)
        async with desk.at_work(mail_url=url, mail_ca_file=chain):
            await eventually(lambda: desk.are("SENT"))

    assert len(mail.taken) == 1
    assert mail.was_encrypted


async def test_a_server_that_offers_no_encryption_gets_no_password(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given()))

    async with desk.at_work(mail_url=f"smtp://shop:geheim@127.0.0.1:{mail.port}"):

        async def failed() -> bool:
            return any(each.failure_reason == "SERVER_UNAVAILABLE" for each in await desk.history())

        await eventually(failed)

    assert mail.taken == []
