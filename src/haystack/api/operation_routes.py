"""What this service offers, and what its operators see."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from haystack.api.problems import PROBLEMS, ErrorBody
from haystack.api.schemas import AuditPage, Offer, Paging, UsageList
from haystack.runs.service import RunService


def operation_routes(service: RunService) -> APIRouter:
    """Offer, usage and audit log."""
    router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    settings, operations = service.settings, service.operations
    admins: dict[int | str, dict[str, Any]] = {403: {"model": ErrorBody, "description": "for admins only"}}

    @router.get("/service", summary="What this service offers", tags=["account"])
    def offer(request: Request) -> Offer:
        """Options that a request cannot have, the usual time of a run, and the caller's share of the disk."""
        return Offer(
            literature=not settings.offline,
            llm=not settings.offline and settings.llm is not None,
            usual_seconds=operations.usual_seconds(),
            keep_days=settings.keep_days,
            quota_gb=settings.quota_gb,
            used_gb=sum(usage.gb for usage in operations.usage(request.state.user.email)),
        )

    @router.get("/admin/users", summary="What everybody's runs take", tags=["admin"], responses=admins)
    def users(request: Request) -> UsageList:
        """Of those who have runs."""
        _admin(request)
        return UsageList(users=operations.usage())

    @router.get("/admin/audit", summary="Who did what", tags=["admin"], responses=admins)
    def audit(wanted: Annotated[Paging, Query()], request: Request) -> AuditPage:
        """Newest first."""
        _admin(request)
        entries, total = operations.entries(wanted.page, wanted.page_size)
        return AuditPage(entries=entries, total=total, page=wanted.page, page_size=wanted.page_size)

    return router


def _admin(request: Request) -> None:
    if not request.state.user.is_admin:
        raise HTTPException(403, "this is for admins (HAYSTACK_ADMINS)")
