"""The recommender's deployment handle as a small port, so that its client can be tested without Serve."""

from collections.abc import Awaitable, Sequence
from typing import Any, Literal, Protocol

from ray import serve
from ray.exceptions import RayActorError
from ray.serve import context as serve_context

from serve_apps.contracts import RECOMMENDER_APPLICATION

Method = Literal["recommend", "similar", "match"]


class Response(Awaitable[Any], Protocol):
    """A call that was sent; `cancel` never waits."""

    def cancel(self) -> None: ...


class Handle(Protocol):
    """The application's methods; calling one sends at once and never blocks."""

    def ask(self, method: Method, requests: Sequence[bytes]) -> Response:
        """Answers with one reply for each request, in order."""

    def status(self) -> Response: ...


class ServeHandle:
    """Making one blocks: Serve asks its controller and starts a router."""

    def __init__(self, application: str = RECOMMENDER_APPLICATION) -> None:
        try:
            handle = serve.get_app_handle(application)
        except RayActorError:
            # Serve keeps its client and all handles beyond its controller's end; a new controller needs new ones.
            serve_context._disconnect()  # type: ignore[no-untyped-call]  # noqa: SLF001
            handle = serve.get_app_handle(application)
        self._methods = {"recommend": handle.recommend, "similar": handle.similar, "match": handle.match}
        self._status = handle.status

    def ask(self, method: Method, requests: Sequence[bytes]) -> Response:
        response: Response = self._methods[method].remote(list(requests))
        return response

    def status(self) -> Response:
        response: Response = self._status.remote()
        return response
