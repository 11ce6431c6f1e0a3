"""An access token for anybody, for development only: the user is made when there is none.

`flow token` and the end of `flow up` call it. A production installation refuses.
"""

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import FORBIDDEN, FlowError
from cluster.kernel.ids import new_id
from cluster.run.attached import Attachment, opened
from cluster.run.edge_wiring import token_settings
from realtime.auth import TokenService
from storage.open import Storage
from storage.records import User

_NO_PASSWORD = "!"  # noqa: S105 - no hash, so no password ever matches it


async def issue(found: Attachment, username: str, lifetime_s: int) -> str:
    """Raises FlowError FORBIDDEN outside development."""
    if found.state["environment"] != "development":
        raise FlowError(FORBIDDEN, "Tokens are made by hand in development only. Log in through /v1/auth/login.")
    async with opened(found) as storage:
        user = await _user(storage, username)
        family = (await storage.refresh_tokens.issue(user.id)).family_id
    service = TokenService(token_settings(found.settings, found.secrets, lifetime_s), SystemClock())
    token, _ = service.issue(user.id, user.username, family)
    return token


async def _user(storage: Storage, username: str) -> User:
    found = await storage.users.by_username(username)
    if found is not None:
        return found
    user = User(
        id=new_id(),
        username=username,
        email=None,
        password_hash=_NO_PASSWORD,
        name=username,
        created_at_ms=SystemClock().now_ms(),
    )
    await storage.users.create(user)
    return user
