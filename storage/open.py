"""Opens storage: every collection over one MongoDB client, the cache over one Redis client, ready to use.

Called by whoever composes a process: hosts, edges, the command line. It promises that the indexes and the schema are
right before it returns, and that a database that is away ends in an error with a sentence within the timeouts of the
settings, never in a hang. Redis that is away does not stop it.
"""

from cluster.kernel.clock import Clock
from cluster.kernel.errors import START_FAILED, UNAVAILABLE, FlowError
from storage.analytics import MongoAnalytics, ensure_acts
from storage.blocks import MongoBlocks
from storage.cache import Cache
from storage.chat_log import MongoChatLog
from storage.client import Database
from storage.cluster_state import MongoViewStore
from storage.dead_causes import DeadCauses
from storage.devices import MongoDevices
from storage.events import MongoEvents
from storage.experiments import MongoExperiments
from storage.friendships import MongoFriendships
from storage.groups import MongoGroups
from storage.indexes import ensure_indexes
from storage.interactions import MongoInteractions
from storage.invitations import MongoInvitations
from storage.journals import MongoJournals
from storage.memberships import MongoMemberships
from storage.migrations import migrate
from storage.notifications import MongoNotifications
from storage.outbox import MongoOutbox
from storage.people_to_meet import PeopleToMeet
from storage.recommendation_queries import RecommendationQueries
from storage.redis_client import RedisClient
from storage.refresh_tokens import RefreshTokens
from storage.rooms import Rooms
from storage.rsvps import MongoRsvpLedger
from storage.settings import StorageSettings
from storage.user_features import UserFeatures
from storage.users import MongoUsers

__all__ = ["Storage", "StorageSettings", "open_storage"]


class Storage:
    """Every collection, by name. One of it for one process and event loop; `close` it in that loop."""

    def __init__(self, database: Database, cache: Cache, clock: Clock, settings: StorageSettings) -> None:
        self._database = database
        self.cache = cache
        self.rooms = Rooms(database)
        self.chat_log = MongoChatLog(database, clock)
        self.journals = MongoJournals(database)
        self.memberships = MongoMemberships(database)
        self.events = MongoEvents(database, clock, cache)
        self.invitations = MongoInvitations(database)
        self.rsvps = MongoRsvpLedger(database)
        self.notifications = MongoNotifications(database)
        self.users = MongoUsers(database, clock)
        self.friendships = MongoFriendships(database)
        self.groups = MongoGroups(database, clock)
        self.devices = MongoDevices(database)
        self.outbox = MongoOutbox(database)
        self.dead_causes = DeadCauses(database)
        self.analytics = MongoAnalytics(database)
        self.refresh_tokens = RefreshTokens(
            database, clock, ttl_ms=settings.refresh_token_ttl_ms, grace_ms=settings.refresh_grace_ms
        )
        self.interactions = MongoInteractions(database)
        self.experiments = MongoExperiments(database)
        self.blocks = MongoBlocks(database)
        self.people_to_meet = PeopleToMeet(database)
        self.recommendations = RecommendationQueries(database)
        self.user_features = UserFeatures(database, cache, clock)
        self.view_store = MongoViewStore(database)

    async def ping(self) -> None:
        """Raises FlowError UNAVAILABLE when the database does not answer."""
        await self._database.ping()

    async def warm(self) -> None:
        """Have connections open before they are needed all at once. Raises FlowError UNAVAILABLE."""
        await self._database.warm()

    async def close(self) -> None:
        """Safe to call twice."""
        await self.user_features.close()
        await self.cache.close()
        await self._database.close()

    def statistics(self) -> dict[str, int]:
        """The gauges of the cache, and of the operations at the database under `database_`."""
        database = {f"database_{name}": value for name, value in self._database.statistics().items()}
        return {**self.cache.statistics(), **database}


async def open_storage(settings: StorageSettings, clock: Clock) -> Storage:
    """Storage, ready to use.

    Raises FlowError START_FAILED with a sentence: an address is wrong, the database is away or refuses the login, an
    index is in conflict, or the data belongs to a newer build.
    """
    database = Database(settings)
    try:
        await _prepare(database, settings)
        cache = _cache(settings, clock)
    except BaseException:
        await database.close()
        raise
    await cache.start()
    return Storage(database, cache, clock, settings)


async def _prepare(database: Database, settings: StorageSettings) -> None:
    try:
        await database.ping()
        await migrate(database)
        await ensure_indexes(database, build_ms=settings.index_timeout_ms)
        await ensure_acts(database)
    except FlowError as error:
        if error.kind is not UNAVAILABLE:
            raise
        raise FlowError(
            START_FAILED,
            f"MongoDB did not answer within {settings.server_selection_timeout_ms / 1000:g} s. "
            "Check that it runs and that its address is right.",
        ) from error


def _cache(settings: StorageSettings, clock: Clock) -> Cache:
    redis = None
    if settings.redis_url is not None:
        redis = RedisClient(
            settings.redis_url, pool_size=settings.redis_pool_size, timeout_ms=settings.redis_timeout_ms
        )
    return Cache(
        redis,
        clock,
        max_bytes=settings.cache_bytes,
        ttl_s=settings.cache_ttl_s,
        lonely_ttl_s=settings.lonely_ttl_s,
    )
