"""The devices that get one's pushes. A device that signs in with another account belongs to that one from then on."""

from typing import Annotated, Literal

from msgspec import Meta

from cluster.kernel.ids import new_id
from realtime.http.fields import Nothing, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from storage.records import Device

Value = Annotated[
    str, Meta(min_length=1, max_length=4_096, pattern="^[\x21-\x7e]+(?!\n)$", description="What FCM gave the device.")
]


class DeviceRegistration(Strict, frozen=True):
    """`kind` says what `value` is: an FCM registration token or a Firebase installation id."""

    kind: Literal["token", "fid"]
    value: Value
    platform: Literal["android", "ios", "web"]


class DeviceRemoval(Strict, frozen=True):
    """The device to forget; `kind` and `platform` may be given as they were registered."""

    value: Value
    kind: Literal["token", "fid"] | None = None
    platform: Literal["android", "ios", "web"] | None = None


async def register(call: Call[DeviceRegistration, Nothing]) -> Nothing:
    body = call.body
    await call.context.storage.devices.register(
        Device(
            id=new_id(),
            user_id=call.caller.user_id,
            kind=body.kind,
            value=body.value,
            platform=body.platform,
            last_seen_ms=call.context.clock.now_ms(),
        )
    )
    return Nothing()


async def remove(call: Call[DeviceRemoval, Nothing]) -> Nothing:
    """Only a device of one's own; one that is unknown is already gone."""
    await call.context.storage.devices.remove_for_user(call.caller.user_id, call.body.value)
    return Nothing()


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/users/me/devices",
        summary="Send your pushes to this device too. At most 20 are used, the most recently seen.",
        tag="People",
        handle=register,
        body=DeviceRegistration,
        query=Nothing,
        reply=Nothing,
    ),
    Operation(
        method="DELETE",
        path="/v1/users/me/devices",
        summary="Send no more pushes to this device.",
        tag="People",
        handle=remove,
        body=DeviceRemoval,
        query=Nothing,
        reply=Nothing,
    ),
)
