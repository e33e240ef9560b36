"""Health, readiness, the model card and the metrics."""

from fastapi import APIRouter, Response

from omnial.serving.metrics import CONTENT_TYPE
from omnial.serving.problems import Problem, RefusedError
from omnial.serving.replies import HealthReply, ModelReply
from omnial.serving.routes.common import Responses, refusals
from omnial.serving.service import Service

_ILL: Responses = {503: {"model": Problem, "description": "Not so."}}


def health_routes(service: Service) -> APIRouter:
    """What an orchestrator asks, without a token."""
    router = APIRouter(tags=["status"])

    @router.get("/healthz", responses=_ILL, summary="Does the service live?")
    async def health() -> HealthReply:
        """503 tells that inspections are stuck, and that a restart is the cure."""
        if not service.alive():
            raise RefusedError(503, "stuck", "Inspections do not go on; restart the service.")
        return HealthReply(status="ok")

    @router.get("/readyz", responses=_ILL, summary="May requests be sent?")
    async def ready() -> HealthReply:
        """503 while inspections are stuck, or the queue has no place left."""
        if not service.alive():
            raise RefusedError(503, "stuck", "Inspections do not go on; restart the service.")
        if service.admission.inside >= service.admission.most:
            raise RefusedError(503, "busy", "The queue is full.")
        return HealthReply(status="ok")

    return router


def status_routes(service: Service) -> APIRouter:
    """What is told to those who may inspect."""
    router = APIRouter(tags=["status"])

    @router.get("/v1/model", responses=refusals(), summary="The model card")
    async def model() -> ModelReply:
        """What runs here, what it knows, and what its verdicts rest on."""
        return service.card

    # Not on the event loop: it reads the process's figures from the system.
    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **refusals()},
        summary="Figures for Prometheus",
    )
    def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router
