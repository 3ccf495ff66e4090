"""Models that other distributions bring along: entry points of the group ``headwater.models``.

An entry point's name is the model's, its object a ``weights(path, policy)`` (``attribution.models.registry``).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from attribution.errors import Misconfigured
from attribution.models.plugins import add_plugin

GROUP = "headwater.models"


@cache
def load_plugins() -> dict[str, str]:
    """Make every installed plug-in a model, once per process; model to distribution, such as ``acme-models 1.2``.

    Raises ``Misconfigured`` when one cannot be loaded, fails its trial, or has a name that is taken.
    """
    return add_all(entry_points(group=GROUP))


def add_all(points: Iterable[EntryPoint]) -> dict[str, str]:
    """As ``load_plugins``, for these."""
    found: dict[str, str] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        try:
            weigh = point.load()
        except Exception as error:
            raise Misconfigured(
                f"The plug-in {point.value} cannot be loaded: {error!r}.", "Repair or uninstall it."
            ) from error
        if not callable(weigh):
            raise Misconfigured(f"The plug-in {point.value} is no function.", "Repair or uninstall it.")
        add_plugin(point.name, weigh)
        found[point.name] = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    return found
