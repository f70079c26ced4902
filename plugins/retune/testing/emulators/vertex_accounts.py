"""Google's token endpoint for service accounts, and who may call.

The grant is RFC 7523's, as https://developers.google.com/identity/protocols/oauth2/service-account shows it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.responses import JSONResponse

from retune.errors import EndpointError
from retune.testing.emulators.server import Call, Refused, Route
from retune.testing.emulators.store import Store
from retune.testing.emulators.vertex_refusals import VertexRefused, unauthenticated

REGISTER = "/_emulator/service_accounts"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIVES_S = 3599
_BITS = 2048


class Accounts:
    """Service accounts, and the tokens that they were given; only digests of tokens are stored.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("POST", "/token", self._grant), Route("POST", REGISTER, self._register)]

    def check(self, call: Call, service: str) -> None:
        """Raise Refused where a request has no valid token.

        Tokens that the endpoint issued are valid for an hour. Others are valid where the options name no
        key, or where it is the one that they name.

        Args:
            call: The request.
            service: The name of the service, for the error.
        """
        kind, _, token = call.request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise VertexRefused(401, _missing(call, service))
        digest = hashlib.sha256(token.encode()).hexdigest()
        issued = self._store.get("token", digest, call.now)
        if issued is not None:
            valid = call.now < issued.body["expires_at"]
        else:
            valid = call.options.api_key_digest in ("", digest)
        if not valid:
            raise unauthenticated(service)

    async def _register(self, call: Call) -> dict[str, Any]:
        key = await call.request.json()
        with self._store.transaction():
            self._store.remove("account_key", key["private_key_id"])
            self._store.add("account_key", key["private_key_id"], key, at=call.now)
        return {}

    async def _grant(self, call: Call) -> JSONResponse:
        form = await call.request.form()
        if form.get("grant_type") != _GRANT:
            message = f"Invalid grant_type: {form.get('grant_type')}"
            raise Refused(400, message, kind="unsupported_grant_type")
        email = self._issuer(str(form.get("assertion", "")), call.now)
        token = f"ya29.{secrets.token_urlsafe(48)}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        body = {"email": email, "expires_at": call.now + _LIVES_S}
        self._store.add("token", digest, body, at=call.now)
        return JSONResponse({"access_token": token, "expires_in": _LIVES_S, "token_type": "Bearer"})

    def _issuer(self, assertion: str, now: float) -> str:
        """Return who signed a grant; raises Refused where nobody did that is known."""
        jwt: Any = import_module("google.auth.jwt")
        try:
            header, claims = jwt.decode_header(assertion), jwt.decode(assertion, verify=False)
        except ValueError as error:
            raise Refused(400, "Invalid JWT: Failed to parse.") from error
        key = self._store.get("account_key", str(header.get("kid")), now)
        if key is None or key.body["client_email"] != claims.get("iss"):
            raise Refused(400, "Invalid grant: account not found")
        if urlsplit(str(claims.get("aud"))).path != "/token":
            raise Refused(400, "Invalid JWT: Failed audience check.")
        try:
            jwt.decode(assertion, certs=key.body["public_key"])
        except ValueError as error:
            late = "expired" in str(error).lower()
            message = "Invalid JWT: Token must be a short-lived token (60 minutes)" if late else ""
            raise Refused(400, message or "Invalid JWT Signature.") from error
        return str(claims["iss"])


def service_account_key(url: str, project: str = "retune", name: str = "tuner") -> dict[str, str]:
    """Make a service account that an emulator knows, and return its key file.

    It fits an Airflow Google connection's `keyfile_dict`, and
    `google.oauth2.service_account.Credentials.from_service_account_info`. Only the public half goes to the
    emulator.

    Args:
        url: The running emulator's base URL.
        project: The account's project.
        name: The account's name.

    Raises:
        EndpointError: The emulator cannot be reached.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    email = f"{name}@{project}.iam.gserviceaccount.com"
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key_id = secrets.token_hex(20)
    account = {"private_key_id": key_id, "client_email": email, "public_key": public.decode()}
    try:
        httpx.post(url + REGISTER, json=account, timeout=60, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise EndpointError(f"the emulator at {url} takes no account: {error}", "start it first") from error
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": key_id,
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": str(int(hashlib.sha256(email.encode()).hexdigest(), 16) % 10**21),
        "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    }


def airflow_extra(key: dict[str, str]) -> str:
    """Return the `extra` of an Airflow Google connection with a key file: JSON."""
    return json.dumps({"keyfile_dict": json.dumps(key), "project": key["project_id"]})


def _missing(call: Call, service: str) -> str:
    if service.startswith("storage"):
        return "Anonymous caller does not have access to the Google Cloud Storage resource."
    return (
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie"
        " or other valid authentication credential."
    )
