"""Signing in: register, log in, refresh, log out.

A session is a family of refresh tokens; its id is in every access token made from it. A wrong password and an unknown
username get the same answer after the same work. Passwords are hashed off the loop; no hash ever leaves this file.
"""

from cluster.kernel.errors import BAD_CREDENTIALS, UNAUTHENTICATED, USERNAME_TAKEN, FlowError
from cluster.kernel.ids import new_id
from realtime.addresses import address_block
from realtime.http.auth_shapes import Credentials, Leaving, Registration, Renewal, SignedIn
from realtime.http.context import ApiContext
from realtime.http.fields import Nothing, Point, moment, tidy_tags
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.throttle import Throttle
from realtime.http.user_shapes import own_user
from realtime.revocation import tell_revoked
from storage.records import User
from storage.refresh_tokens import RefreshToken


class SignIn:
    """The operations, and the rates at which one may try them."""

    def __init__(self, context: ApiContext) -> None:
        settings = context.settings
        self._by_address = Throttle(settings.sign_ins_per_address, context.clock)
        self._by_username = Throttle(settings.sign_ins_per_username, context.clock)
        self._registrations = Throttle(settings.registrations_per_address, context.clock)

    async def register(self, call: Call[Registration, Nothing]) -> SignedIn:
        self._registrations.take(address_block(call.address))
        context, body = call.context, call.body
        if await context.storage.users.by_username(body.username) is not None:
            raise FlowError(USERNAME_TAKEN)
        user = User(
            id=new_id(),
            username=body.username,
            email=None if body.email is None else body.email.casefold(),
            password_hash=await context.passwords.hash(body.password),
            name=body.name or body.username,
            interests=tidy_tags(body.interests),
            coordinates=body.location.coordinates if isinstance(body.location, Point) else None,
            created_at_ms=context.clock.now_ms(),
        )
        await context.storage.users.create(user)
        return _signed_in(context, user, await context.storage.refresh_tokens.issue(user.id))

    async def log_in(self, call: Call[Credentials, Nothing]) -> SignedIn:
        context, body = call.context, call.body
        self._by_address.take(address_block(call.address))
        self._by_username.take(body.username.casefold())
        user = await context.storage.users.by_username(body.username)
        password_hash = None if user is None else user.password_hash
        if not await context.passwords.verify(password_hash, body.password) or user is None:
            raise FlowError(BAD_CREDENTIALS)
        stronger = await context.passwords.rehashed(user.password_hash, body.password)
        if stronger is not None:
            await context.storage.users.set_password_hash(user.id, stronger)
        return _signed_in(context, user, await context.storage.refresh_tokens.issue(user.id))

    async def refresh(self, call: Call[Renewal, Nothing]) -> SignedIn:
        self._by_address.take(address_block(call.address))
        context = call.context
        successor = await context.storage.refresh_tokens.rotate(call.body.refresh_token)
        user = await context.storage.users.by_id(successor.user_id)
        if user is None:
            raise FlowError(UNAUTHENTICATED)
        return _signed_in(context, user, successor)

    def statistics(self) -> dict[str, float]:
        """How often each rate refused somebody, and how many names each remembers."""
        throttles = {"address": self._by_address, "username": self._by_username, "registration": self._registrations}
        return {
            f"http_sign_in_{name}_{what}": value
            for name, throttle in throttles.items()
            for what, value in throttle.statistics().items()
        }


async def log_out(call: Call[Leaving, Nothing]) -> Nothing:
    """End the session: none of its refresh tokens works any more, and its sockets are closed. Safe to repeat.

    Either token will do, so that one whose access token has expired can still leave.
    """
    tokens, body = call.context.storage.refresh_tokens, call.body
    if call.signed_in is None and body.refresh_token is None:
        raise FlowError(UNAUTHENTICATED)
    ended: set[str] = set()
    if call.signed_in is not None:
        await tokens.revoke_family(call.signed_in.session_id)
        ended.add(call.signed_in.session_id)
    if body.refresh_token is not None:
        family_id = await tokens.revoke(body.refresh_token)
        ended |= set() if family_id is None else {family_id}
    for session_id in ended:
        await tell_revoked(call.context.router, session_id)
    return Nothing()


def _signed_in(context: ApiContext, user: User, refresh: RefreshToken) -> SignedIn:
    access_token, expires_at_ms = context.tokens.issue(user.id, user.username, refresh.family_id)
    return SignedIn(
        access_token=access_token,
        refresh_token=refresh.token,
        expires_at=moment(expires_at_ms),
        user=own_user(user),
    )


_LOG_OUT: AnyOperation = Operation(
    method="POST",
    path="/v1/auth/logout",
    summary="End this session, by its access token or its refresh token.",
    tag="Sign in",
    handle=log_out,
    body=Leaving,
    query=Nothing,
    reply=Nothing,
    access="optional",
    errors=(UNAUTHENTICATED,),
)


def operations(sign_in: SignIn) -> tuple[AnyOperation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/auth/register",
            summary="Make an account and sign in.",
            tag="Sign in",
            handle=sign_in.register,
            body=Registration,
            query=Nothing,
            reply=SignedIn,
            status=201,
            access="public",
            errors=(USERNAME_TAKEN,),
        ),
        Operation(
            method="POST",
            path="/v1/auth/login",
            summary="Sign in with a username and a password.",
            tag="Sign in",
            handle=sign_in.log_in,
            body=Credentials,
            query=Nothing,
            reply=SignedIn,
            access="public",
            errors=(BAD_CREDENTIALS,),
        ),
        Operation(
            method="POST",
            path="/v1/auth/refresh",
            summary="Exchange a refresh token for a new access token and the next refresh token.",
            tag="Sign in",
            handle=sign_in.refresh,
            body=Renewal,
            query=Nothing,
            reply=SignedIn,
            access="public",
            errors=(UNAUTHENTICATED,),
        ),
        _LOG_OUT,
    )
