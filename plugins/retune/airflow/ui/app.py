"""Serves reports by digest to those who may read the pipeline's DAG."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import FastAPI, HTTPException, Path, Request, Response

from retune.airflow import configuration
from retune.errors import ArtifactError, GoneError
from retune.spec import NAME
from retune.state import artifacts_index

# Reports carry text of users: even a script that slipped through must not act as the reader.
# Without allow-same-origin a page lives in an opaque origin, with no cookie and no way to Airflow's
# API; scripts may run only because Evidently's charts are drawn by them; nothing may be fetched or
# sent anywhere, so every page must be self-contained.
_POLICY = "; ".join(
    (
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "font-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, max-age=31536000, immutable",
}

app = FastAPI(title="Retune", openapi_url=None)


@app.get("/{pipeline}/artifacts/{digest}")
def artifact(
    pipeline: Annotated[str, Path(pattern=NAME)],
    digest: Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")],
    request: Request,
    user: GetUserDep,
) -> Response:
    """Return an artifact that the state has for the pipeline: 401, 403 and 404 as everywhere in Airflow.

    410 where it was removed on purpose, with the reason.
    """
    requires_access_dag("GET", param_dag_id=f"{pipeline}.tune")(request, user)
    with configuration.database().read() as tx:
        found = artifacts_index.find(tx, pipeline, digest)
    if found is None:
        raise HTTPException(404, f"{pipeline} has no artifact {digest}")
    try:
        body = configuration.artifacts().get_bytes(digest)
    except GoneError as error:
        raise HTTPException(410, str(error)) from error
    except ArtifactError as error:
        raise HTTPException(404, str(error)) from error
    return Response(body, media_type=found.media_type, headers=_HEADERS)
