"""The seam to Ray Serve: deploys the Serve part of the settings file, as `serve deploy` would, without the dashboard.

The supervisor and `flow models` use it. What is deployed is exactly what the file says, checked by Serve's own schema.
Model replicas come up in their own time: nothing that people talk through waits for them.
"""

import asyncio
from typing import Any

from pydantic import ValidationError
from ray import exceptions as ray_exceptions
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from cluster.kernel.errors import SETTINGS_INVALID, START_FAILED, FlowError


def checked(configuration: dict[str, Any]) -> ServeDeploySchema:
    """The Serve part of the file. Raises FlowError SETTINGS_INVALID."""
    try:
        return ServeDeploySchema.model_validate(configuration)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FlowError(SETTINGS_INVALID, f"{key} of the Serve part: {first['msg']}. Correct it.") from None


async def deploy(configuration: ServeDeploySchema) -> None:
    """Start Serve when it is not there yet and hand it the applications. Returns before they run."""
    try:
        await asyncio.to_thread(_deploy, configuration)
    except (RayServeException, ray_exceptions.RayError, TimeoutError) as error:
        raise FlowError(START_FAILED, f"Ray Serve did not take the applications: {error}") from error


def _deploy(configuration: ServeDeploySchema) -> None:
    serve.start(
        proxy_location=configuration.proxy_location,
        http_options=configuration.http_options.model_dump(),
        grpc_options=configuration.grpc_options.model_dump(),
        logging_config=configuration.logging_config,
        controller_options=configuration.controller_options,
    )
    client: Any = _get_global_client()
    client.deploy_apps(configuration)


async def statuses() -> dict[str, dict[str, Any]]:
    """Each application's status, message and replicas by state; empty while Serve does not run."""
    try:
        status = await asyncio.to_thread(serve.status)
    except (RayServeException, ray_exceptions.RayError):
        return {}
    return {
        name: {
            "status": application.status.value,
            "message": application.message,
            "deployments": {
                deployment: {"status": one.status.value, "replicas": dict(one.replica_states), "message": one.message}
                for deployment, one in application.deployments.items()
            },
        }
        for name, application in status.applications.items()
    }


async def shutdown() -> None:
    """Remove every application and Serve itself. Needed only in a cluster that stays."""
    await asyncio.to_thread(serve.shutdown)
