"""`shop.notifications.v1.NotificationsService`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from shop.notifications.v1 import notifications_pb2 as pb
from shop.notifications.v1 import notifications_pb2_grpc as pb_grpc
from shop.users.v1 import users_pb2

from services import paging
from services.exporting import every
from services.notifications import store
from services.notifications.domain import Channel, Notification, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from weft.data import Database
    from weft.server import Context

__all__ = ["NotificationsServicer"]

PAGE_SIZE: Final = 50
_STATES: Final = {state: pb.Notification.State.Value(f"STATE_{state.name}") for state in State}
_CHANNELS: Final = {channel: users_pb2.Channel.Value(f"CHANNEL_{channel.name}") for channel in Channel}


class NotificationsServicer(pb_grpc.NotificationsServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        size, user_id = request.page_size or PAGE_SIZE, request.user_id.lower()
        pages = f"notifications of {user_id}"
        after = paging.decode(request.page_token, pages, paging.time, UUID) if request.page_token else None
        found = await store.list_page(self._database, user_id or None, size + 1, after)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = paging.encode(pages, last.create_time, last.notification_id)
        return pb.ListNotificationsResponse(notifications=map(_message, found[:size]), next_page_token=token)

    async def ExportUserData(
        self, request: pb.ExportUserDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserDataResponse]:
        page = partial(store.list_page, self._database, str(UUID(request.user_id)))
        async for notification in every(page, lambda last: (last.create_time, last.notification_id)):
            response = pb.ExportUserDataResponse()
            response.item.Pack(_message(notification))
            yield response


def _message(notification: Notification) -> pb.Notification:
    return pb.Notification(
        notification_id=str(notification.notification_id),
        user_id=notification.user_id,
        template=notification.template.value,
        channel=_CHANNELS[notification.channel],
        language=notification.language,
        state=_STATES[notification.state],
        attempts=notification.attempts,
        failure_reason=notification.failure_reason,
        subject=notification.subject,
        create_time=_timestamp(notification.create_time),
        update_time=_timestamp(notification.update_time),
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
