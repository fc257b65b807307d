"""What orders says no to, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from weft.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ServiceError, Unavailable, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CANCELLED_BY_USER",
    "DESTINATION_NOT_SERVED",
    "PEER_UNAVAILABLE",
    "CancelledByUser",
    "CartChanged",
    "CartEmpty",
    "CartFull",
    "CurrenciesDiffer",
    "DestinationNotServed",
    "DuplicateProducts",
    "IllegalTransition",
    "InsufficientStock",
    "OrderChanged",
    "OrderNotFound",
    "PeerUnavailable",
    "PlacementUnderWay",
    "ProductNotFound",
    "ReservationExpired",
    "UserDeactivated",
    "UserNotFound",
    "order_refused",
]

CANCELLED_BY_USER: Final = "CANCELLED_BY_USER"
DESTINATION_NOT_SERVED: Final = "DESTINATION_NOT_SERVED"
PEER_UNAVAILABLE: Final = "PEER_UNAVAILABLE"


class OrderNotFound(NotFound):
    """The caller has no order with this id; somebody else may have."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"no order {order_id}", order_id=order_id)


class ProductNotFound(NotFound):
    """Products don't exist or are off sale; `violations` names the line of each, as does the metadata `lines`."""


class CartChanged(FailedPrecondition):
    """The cart isn't what its shopper saw; `violations` names each difference."""

    def __init__(self, violations: Sequence[Violation], **metadata: str) -> None:
        super().__init__("the cart has changed; look at it again", violations=violations)
        self.metadata = metadata


class CartEmpty(FailedPrecondition):
    """There is nothing in the cart that could be bought."""

    def __init__(self) -> None:
        super().__init__("nothing that is on sale is in the cart")


class CartFull(FailedPrecondition):
    """The cart holds as many products, or as many of one, as it may: the metadata `limit`."""


class DuplicateProducts(InvalidArgument):
    """A product stands in more than one line; `violations` names each line after its first."""


class CurrenciesDiffer(FailedPrecondition):
    """Products, or products and what sending them costs, are priced in different currencies, which have no sum."""


class DestinationNotServed(FailedPrecondition):
    """No carrier goes where the order is to go."""

    def __init__(self) -> None:
        violation = Violation("destination.countryCode", "is not a country that a carrier serves")
        super().__init__("no carrier serves this destination", violations=[violation])


class IllegalTransition(FailedPrecondition):
    """The order's state does not allow it."""


class CancelledByUser(FailedPrecondition):
    """The shopper called the order off before it was certain."""

    def __init__(self) -> None:
        super().__init__("the order was called off before it was certain")


class ReservationExpired(FailedPrecondition):
    """It took so long to come this far that the goods may be gone."""

    def __init__(self) -> None:
        super().__init__("the goods can't be held any longer; order again")


class InsufficientStock(FailedPrecondition):
    """Fewer units are there than are wanted; the metadata `lines` and `product_ids` name which, where it is known."""

    def __init__(self, message: str, short: Mapping[int, object]) -> None:
        """Take the products that are short, by the line that wants them."""
        super().__init__(
            message, lines=",".join(map(str, short)), product_ids=",".join(str(product) for product in short.values())
        )


class OrderChanged(Aborted):
    """Others change the order faster than this change can be made."""

    def __init__(self, order_id: object) -> None:
        super().__init__("the order is being changed by others; try again", order_id=order_id)


class PlacementUnderWay(Unavailable):
    """The order is certain but not all of it is done, so it can't be undone yet."""

    def __init__(self) -> None:
        super().__init__("the order's placement is still under way")


class UserDeactivated(FailedPrecondition):
    """The caller's account may not be used any more."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"user {user_id} is deactivated", user_id=user_id)


class UserNotFound(NotFound):
    """The caller has no account."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"no user {user_id}", user_id=user_id)


class PeerUnavailable(Unavailable):
    """A service that is needed can't answer now."""

    def __init__(self, peer: str, *, retry_after_s: float | None) -> None:
        super().__init__(f"{peer} can't answer at the moment; try again", retry_after_s=retry_after_s, peer=peer)


def order_refused(
    order_id: object, reason: str, message: str, metadata: Mapping[str, str], *, field: str = "lines"
) -> ServiceError:
    """Return what the shopper is told of an order that was placed and could not be had, for *reason*.

    *message* and *metadata* are from whoever refused, where that is known; nothing is reserved or held any more. The
    request calls its lines *field*.
    """
    refused: ServiceError
    if reason == CANCELLED_BY_USER:
        refused, metadata = CancelledByUser(), {}
    elif reason == PEER_UNAVAILABLE:
        refused = PeerUnavailable(metadata.get("peer", "a service"), retry_after_s=1.0)
        metadata = refused.metadata
    else:
        short = metadata.get("lines", "").split(",") if reason == "INSUFFICIENT_STOCK" else []
        violations = [Violation(f"{field}[{index}].quantity", "is more than there is") for index in short if index]
        refused = FailedPrecondition(message or "the order was refused", reason=reason, violations=violations)
    refused.metadata = {**metadata, "order_id": str(order_id)}  # their names are a peer's, and may be any
    return refused
