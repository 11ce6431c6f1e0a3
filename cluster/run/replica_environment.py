"""What the recommender's replicas find in their environment: where the database and the models are.

A local Ray hands its own environment down to every process, so it is set before Ray starts and `serve deploy` finds it
too. A cluster that was joined runs already: there it travels with the application.
"""

from typing import Any

from cluster.run.plan import Plan
from serve_apps import wiring
from serve_apps.contracts import RECOMMENDER_APPLICATION


def of(plan: Plan) -> dict[str, str]:
    return {
        wiring.URI_VARIABLE: plan.mongodb_uri,
        wiring.DATABASE_VARIABLE: plan.settings.storage.database,
        wiring.MODELS_VARIABLE: str(plan.installation.models),
        "TF_USE_LEGACY_KERAS": "1",
    }


def given_to(configuration: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The Serve part of the settings with the recommender's environment in it; what the file says itself stays."""
    applications = [dict(one) for one in configuration.get("applications", [])]
    for one in applications:
        if one.get("name") == RECOMMENDER_APPLICATION:
            runtime = dict(one.get("runtime_env") or {})
            runtime["env_vars"] = {**of(plan), **runtime.get("env_vars", {})}
            one["runtime_env"] = runtime
    return {**configuration, "applications": applications}
