"""Versions of models: published whole or not at all, verified before use, one of them live. See `versions`."""

from serve_apps.registry.manifest import Gate, Manifest, Pointer, Signature
from serve_apps.registry.versions import KEPT_VERSIONS, ModelRegistry

__all__ = ["KEPT_VERSIONS", "Gate", "Manifest", "ModelRegistry", "Pointer", "Signature"]
