"""The HTTP interface as a whole: every resource's operations and the pages about them, on the edge's application.

The edge calls `mount` once, before its application starts. It promises that every operation that answers is in the
published description and the other way round, and that other routes of the same application are left alone.
"""

from typing import Final

from aiohttp import web

from cluster.kernel.tasks import TaskOwner
from realtime.http import (
    attendance,
    auth,
    blocks,
    devices,
    documentation,
    events,
    friends,
    health,
    interactions,
    invitations,
    messages,
    notifications,
    people,
    recommendations,
    rooms,
    similar_events,
    users,
)
from realtime.http.context import ApiContext
from realtime.http.dispatch import Dispatcher
from realtime.http.middlewares import TEMPLATES, outermost
from realtime.http.operations import AnyOperation

MAX_ANNOUNCEMENTS: Final = 1_000
"""New events being told to topics at once; past it one is stored and not told."""

__all__ = ["ApiContext", "HttpApi", "mount"]


class HttpApi:
    """The interface of one edge, mounted. Its background work ends when the application is cleaned up."""

    def __init__(self, context: ApiContext) -> None:
        self._announcements = TaskOwner("http.announcements", limit=MAX_ANNOUNCEMENTS)
        self._sign_in = auth.SignIn(context)
        self._dispatcher = Dispatcher(context)
        self._recommending = recommendations.Recommending(context)
        self._context = context

    def _operations(self) -> tuple[AnyOperation, ...]:
        """Every operation there is, in the order of the description."""
        return (
            *auth.operations(self._sign_in),
            *users.OPERATIONS,
            *devices.OPERATIONS,
            *friends.OPERATIONS,
            *blocks.OPERATIONS,
            *events.operations(self._announcements),
            *attendance.OPERATIONS,
            *invitations.OPERATIONS,
            *rooms.OPERATIONS,
            *messages.OPERATIONS,
            *notifications.OPERATIONS,
            *interactions.OPERATIONS,
            *recommendations.operations(self._recommending),
            *similar_events.OPERATIONS,
            *people.OPERATIONS,
            *health.operations(self._context),
        )

    def attach(self, app: web.Application) -> None:
        rows = self._operations()
        before = {resource.canonical for resource in app.router.resources()}
        for row in rows:
            if row.method == "GET":
                app.router.add_get(row.path, self._dispatcher.handler(row))
            else:
                app.router.add_route(row.method, row.path, self._dispatcher.handler(row))
        documentation.mount(app, self._context, rows)
        app[TEMPLATES] = frozenset(resource.canonical for resource in app.router.resources()) - before
        app.middlewares.insert(0, outermost(self._context))
        app.on_cleanup.append(self._stop)

    async def _stop(self, _: web.Application) -> None:
        await self._announcements.stop()

    def statistics(self) -> dict[str, float]:
        """Gauges and counters of the interface by name."""
        return {
            **self._dispatcher.statistics(),
            **self._sign_in.statistics(),
            **self._recommending.statistics(),
            "http_announcements_under_way": len(self._announcements),
        }


def mount(app: web.Application, context: ApiContext) -> HttpApi:
    """Add the routes and the middleware. Raises FlowError SETTINGS_INVALID for CORS origins that are none."""
    interface = HttpApi(context)
    interface.attach(app)
    return interface
