"""Envoy's configuration as plain JSON values: pure functions of routes, replicas and places."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retune.records import Route

BODY_LIMIT = 1 << 20
"""Bytes of a request's body; a larger one is answered 413."""
ROUTES = "retune"
"""Name of the route configuration."""
LUA = "envoy.filters.http.lua"
_CLUSTER = "replicas"
_STREAM_IDLE = "600s"
_COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
_TYPE = "type.googleapis.com/envoy"


def bootstrap(xds: Path) -> dict[str, Any]:
    """Return the static part: everything else is read from the files below `xds`."""

    def source(name: str) -> dict[str, Any]:
        return {"resource_api_version": "V3", "path_config_source": _watched(xds, name)}

    return {
        "node": {"id": "retune", "cluster": "retune"},
        "admin": {"address": _address("127.0.0.1", 0)},
        "dynamic_resources": {"lds_config": source("lds.json"), "cds_config": source("cds.json")},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 16384,
                    },
                }
            ]
        },
    }


def listener(xds: Path, access_log: Path, host: str, port: int) -> dict[str, Any]:
    """Return the one listener; it stays as it is while Envoy runs."""
    connections = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "stream_idle_timeout": _STREAM_IDLE,
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "rds": {
            "route_config_name": ROUTES,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": _watched(xds, "rds.json"),
            },
        },
        "http_filters": [_lua(), _router()],
        "local_reply_config": _own_errors(),
        "access_log": [_capture(access_log)],
    }
    return {
        "@type": f"{_TYPE}.config.listener.v3.Listener",
        "name": "gateway",
        "address": _address(host, port),
        # With it a second Envoy would share the port in silence instead of failing to bind it.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": connections,
                    }
                ]
            }
        ],
    }


def cluster(replicas: Iterable[str]) -> dict[str, Any]:
    """Return the replicas (base URLs such as `http://127.0.0.1:8000`) as one cluster."""
    endpoints = []
    for url in replicas:
        parts = urlsplit(url)
        address = _address(parts.hostname or "", parts.port or 80)
        endpoints.append({"endpoint": {"address": address}})
    limits = {"max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384}
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": _CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                # vLLM closes an idle connection after 5 s: close it first, or a request meets the close.
                "common_http_protocol_options": {"idle_timeout": "3s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def route_table(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the route configuration; its metadata holds the alias table that the Lua filter reads."""
    table = {route.alias: route.to_json() for route in sorted(routes, key=lambda route: route.alias)}
    completions = [
        {
            "name": path,
            "match": {"path": path, "headers": [_method("POST")]},
            "metadata": {"filter_metadata": {LUA: table}},
            "route": {
                "cluster": _CLUSTER,
                "timeout": "0s",
                "idle_timeout": _STREAM_IDLE,
                # Only where the replica cannot have begun: nothing is computed twice.
                "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
            },
        }
        for path in _COMPLETIONS
    ]
    models = [{"id": alias, "object": "model", "created": 0, "owned_by": "retune"} for alias in table]
    not_found = _error("no such address; see GET /v1/models", "invalid_request_error")
    return {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "max_direct_response_body_size_bytes": BODY_LIMIT,
        "virtual_hosts": [
            {
                "name": "gateway",
                "domains": ["*"],
                "routes": [
                    *completions,
                    _direct({"path": "/v1/models"}, 200, {"object": "list", "data": models}),
                    _direct({"path": "/healthz"}, 200, {"status": "ok"}),
                    _direct({"prefix": "/"}, 404, not_found),
                ],
            }
        ],
    }


def _watched(folder: Path, name: str) -> dict[str, Any]:
    return {"path": str(folder / name), "watched_directory": {"path": str(folder)}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _method(name: str) -> dict[str, Any]:
    return {"name": ":method", "string_match": {"exact": name}}


def _direct(match: dict[str, Any], status: int, body: dict[str, Any]) -> dict[str, Any]:
    if "path" in match:
        match = {**match, "headers": [_method("GET")]}
    off = {"@type": f"{_TYPE}.extensions.filters.http.lua.v3.LuaPerRoute", "disabled": True}
    content_type = {"header": {"key": "content-type", "value": "application/json"}}
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(body)}},
        "response_headers_to_add": [{**content_type, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "typed_per_filter_config": {LUA: off},
    }


def _lua() -> dict[str, Any]:
    code = resources.files("retune.serving").joinpath("gateway.lua").read_text(encoding="utf-8")
    config = {
        "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }
    return {"name": LUA, "typed_config": config}


def _router() -> dict[str, Any]:
    config = {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}
    return {"name": "envoy.filters.http.router", "typed_config": config}


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _own_errors() -> dict[str, Any]:
    """Envoy's own errors (too large, no replica) in OpenAI's shape; the Lua filter's have it already."""

    def mapper(operator: str, status: int, kind: str) -> dict[str, Any]:
        value = {"default_value": status, "runtime_key": f"retune.{kind}"}
        return {
            "filter": {"status_code_filter": {"comparison": {"op": operator, "value": value}}},
            "body_format_override": {"json_format": _error("%LOCAL_REPLY_BODY%", kind)},
        }

    return {"mappers": [mapper("EQ", 413, "invalid_request_error"), mapper("GE", 502, "server_error")]}


def _capture(path: Path) -> dict[str, Any]:
    """Return the JSON access log: one line for each request that was given to a release."""
    picked = {"filter": "retune", "path": [{"key": "release"}], "value": {"present_match": True}}
    line = {
        "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6f+00:00)%",
        "status": "%RESPONSE_CODE%",
        "latency_ms": "%DURATION%",
        "kept": "%DYNAMIC_METADATA(retune)%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"metadata_filter": {"matcher": picked, "match_if_key_not_found": False}},
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": line},
        },
    }
