"""SMS and push messages, by a POST to whoever delivers them.

The body is JSON: `notification_id`, `channel` (`sms`, `push`), `to` (the telephone number, the app's token), `title`,
`text`, `language` and `template`. These headers come with it:

- `Idempotency-Key` and `webhook-id`: the notification's id, the same however often it is tried;
- `webhook-timestamp`: seconds since 1970;
- `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`, by the secret
  that both sides know. A receiver compares it in constant time, and refuses what is older than some minutes.

An answer of 2xx means that the message was taken. 400, 410, 413, 415 and 422 refuse it for good; whatever else says
that it was not taken, or leaves that open, has it tried again.

At least once, with the same Idempotency-Key: where the process is killed, or the answer lost, between the receiver's
taking a message and the noting of that, it is sent again. A receiver that keeps the keys of a day delivers it once.

Source: https://www.standardwebhooks.com, for the last three headers
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp

from services.notifications.transport import Deferred, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.notifications.transport import Message

__all__ = ["Webhook", "signature"]

ANSWER_S: Final = 20.0
_REFUSALS: Final = frozenset({400, 410, 413, 415, 422})


class Webhook:
    """A `Transport`. Use `Webhook.open`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: bytes, clock: Callable[[], float]) -> None:
        self._session, self._url, self._secret, self._clock = session, url, secret, clock

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, secret: bytes, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Webhook]:
        """Deliver to *url*, `http://…` or `https://…`; *clock* tells the time that is signed."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            yield cls(session, url, secret, clock)

    async def send(self, message: Message) -> None:
        notification, rendered = message.notification, message.rendered
        notification_id, timestamp = str(notification.notification_id), str(int(self._clock()))
        body = json.dumps(
            {
                "notification_id": notification_id,
                "channel": notification.channel.value,
                "to": message.address,
                "title": rendered.subject,
                "text": rendered.short,
                "language": rendered.language,
                "template": notification.template.value,
            },
            ensure_ascii=False,
        ).encode()
        headers = {
            "content-type": "application/json",
            "idempotency-key": notification_id,
            "webhook-id": notification_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._secret, notification_id, timestamp, body),
        }
        try:
            # A redirect is not followed: the message would go to somebody whom the operator didn't choose.
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise Deferred("RECEIVER_UNAVAILABLE") from None
        if status in _REFUSALS:
            raise Refused("MESSAGE_REFUSED")
        if not 200 <= status < 300:  # noqa: PLR2004  # RFC 9110 section 15.3
            raise Deferred("RECEIVER_UNAVAILABLE")


def signature(secret: bytes, notification_id: str, timestamp: str, body: bytes) -> str:
    """Return what `webhook-signature` says, see above."""
    signed = b".".join((notification_id.encode(), timestamp.encode(), body))
    return "v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode()
