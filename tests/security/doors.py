"""Doors as an attacker finds them: listed from what a plane answers, filled in from its document.

Nothing here knows a single door by name, so one that is added later is tried as well.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from wallet.api.office_guard import Guard
from wallet.api.office_routers import OPEN_PATHS
from wallet.api.resident_identity import PUBLIC
from wallet.auth.staff_policy import policy
from wallet.auth.staff_rules import Permission

WRITING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

FOR_ANYBODY: Final = frozenset({"/status"})

_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, kw_only=True)
class Door:
    """One method of one path, and what its document says of it."""

    method: str
    path: str
    operation: Mapping[str, Any]
    route: APIRoute | None
    schemas: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return _PARAMETER.findall(self.path)

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The schema of the JSON that the door takes, None when it takes none."""
        content = self.operation.get("requestBody", {}).get("content", {})
        schema: Mapping[str, Any] | None = content.get("application/json", {}).get("schema")
        if schema is not None and "$ref" in schema:
            resolved: Mapping[str, Any] = self.schemas[schema["$ref"].rpartition("/")[2]]
            return resolved
        return schema

    @property
    def permission(self) -> Permission | None:
        """The permission that a door of staff asks for, None where there is none to ask for."""
        found = {guard.permission for guard in _guards(self.route)} - {None}
        assert len(found) <= 1, f"{self} asks for several permissions"
        return found.pop() if found else None

    @property
    def roles(self) -> frozenset[str]:
        """The roles that may come through a door of staff, by the files."""
        rules = policy().roles.values()
        return frozenset(
            rule.name
            for rule in rules
            if self.permission is None or self.permission in rule.permissions
        )

    def at(self, ids: Mapping[str, str]) -> str:
        """Return the path with ids in the place of its names."""
        return _PARAMETER.sub(lambda found: ids[found[1]], self.path)


def doors_of(application: FastAPI) -> list[Door]:
    """Return the documented doors of a plane, in the order of their paths."""
    document = application.openapi()
    routes = {
        (method, context.path): context.original_route
        for context in iter_route_contexts(application.routes)
        for method in getattr(context, "methods", None) or ()
    }
    schemas = document["components"]["schemas"]
    return [
        Door(
            method=method.upper(),
            path=path,
            operation=operation,
            route=_api_route(routes.get((method.upper(), path))),
            schemas=schemas,
        )
        for path, item in sorted(document["paths"].items())
        for method, operation in item.items()
    ]


def _api_route(route: BaseRoute | None) -> APIRoute | None:
    return route if isinstance(route, APIRoute) else None


def is_closed(door: Door) -> bool:
    """Whether a door asks for a session."""
    return door.path not in PUBLIC | OPEN_PATHS | FOR_ANYBODY


def _guards(route: APIRoute | None) -> Iterator[Guard]:
    waiting: list[Dependant] = [] if route is None else [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Guard):
            yield dependant.call
        waiting.extend(dependant.dependencies)
