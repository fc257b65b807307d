"""What notifications asks of users: how to reach somebody, each time anew, since nobody else may keep that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shop.users.v1 import users_pb2 as pb
from shop.users.v1 import users_pb2_grpc

from services.notifications.domain import Channel, Contact
from weft.client import PeerError

if TYPE_CHECKING:
    from weft.client import Peers

__all__ = ["CHANNELS", "Contacts"]

CHANNELS: Final = {
    pb.CHANNEL_EMAIL: Channel.EMAIL,
    pb.CHANNEL_SMS: Channel.SMS,
    pb.CHANNEL_PUSH: Channel.PUSH,
}
_NOBODY: Final = {"NOT_FOUND", "INVALID_ARGUMENT"}
"""Codes that name nobody: an id that is no UUID is nobody's either."""


class Contacts:
    """Users, as notifications knows them. Each method raises PeerError where they can't be asked."""

    def __init__(self, peers: Peers) -> None:
        self._users: users_pb2_grpc.UsersServiceAsyncStub = peers.stub(users_pb2_grpc.UsersServiceStub, "users")  # type: ignore[assignment]  # a stub made of an asynchronous channel

    async def find(self, user_id: str) -> Contact | None:
        """Return how to reach a user at this moment; None for one that is not there."""
        try:
            response = await self._users.GetContact(pb.GetContactRequest(user_id=user_id))
        except PeerError as error:
            if error.code in _NOBODY:
                return None
            raise
        return _contact(response.contact)

    async def administrators(self) -> list[Contact]:
        response = await self._users.ListAdminContacts(pb.ListAdminContactsRequest())
        return [_contact(each) for each in response.contacts]


def _contact(contact: pb.Contact) -> Contact:
    preferences = contact.preferences
    addresses = {
        Channel.EMAIL: contact.email,
        Channel.SMS: preferences.phone_number,
        Channel.PUSH: preferences.push_token,
    }
    return Contact(
        user_id=contact.user_id,
        first_name=contact.first_name,
        language=preferences.language,
        channels=tuple(CHANNELS[each] for each in preferences.channels if each in CHANNELS) or (Channel.EMAIL,),
        addresses={channel: address for channel, address in addresses.items() if address},
    )
