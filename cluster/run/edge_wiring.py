"""Makes an edge from its plan, and what signs and checks an installation's tokens."""

from importlib import metadata

from cluster.kernel.clock import Clock
from cluster.run.process import ProcessPlan
from cluster.run.secrets import Secrets
from cluster.run.settings import Settings
from realtime.auth import TokenSettings
from realtime.edge import Edge, EdgeSettings
from serve_apps.contracts import Recommender
from storage.open import Storage


def edge(plan: ProcessPlan, name: str, incarnation: str, storage: Storage, clock: Clock) -> Edge:
    """Not started. The recommender's client connects when it is first asked."""
    settings = plan.settings
    return Edge(
        name,
        incarnation,
        EdgeSettings(
            tokens=token_settings(settings, plan.secrets),
            cluster_secret=plan.secrets.cluster_secret.encode(),
            limits=settings.edge,
            engine=settings.sockets,
            links=settings.link,
            api=settings.http,
            version=metadata.version("flow-server"),
            development=settings.is_development,
        ),
        storage,
        storage.view_store,
        _recommender() if settings.recommender else None,
        clock,
    )


def _recommender() -> Recommender:
    from serve_apps.client import ServeRecommender  # brings Ray Serve, which a process without models never needs

    return ServeRecommender()


def token_settings(settings: Settings, secrets: Secrets, lifetime_s: int | None = None) -> TokenSettings:
    """What signs and checks this installation's tokens."""
    return TokenSettings(
        secret=secrets.jwt_secret,
        previous_secret=secrets.jwt_previous_secret,
        issuer=settings.tokens.issuer,
        audience=settings.tokens.audience,
        lifetime_s=lifetime_s or settings.tokens.lifetime_s,
    )
