"""What Envoy is told, and what it says of itself, in the words of ``model``: pure, JSON in and out.

The bootstrap is static: listeners, limits, the admin socket. What a release changes lies in three files that Envoy follows as they are renamed into place
(filesystem xDS), each a DiscoveryResponse: ``clusters.json`` (CDS, one cluster for each environment, named ``green-5``), ``production.json`` and
``preview.json`` (RDS). Paths in the bootstrap are relative: Envoy runs in the directory that holds them, so no path is too long for a socket's name.
"""

import json
import re
import socket
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from bleen.errors import Refused
from bleen.model import Environment, Routing, Target
from bleen.plan import Probe

Config = dict[str, Any]

ADMIN = "admin.sock"
CLUSTERS = "clusters.json"
RENEWED = "renewed"
SIDES = ("production", "preview")
NOBODY = {"production": "no version is active\n", "preview": "no release is being previewed\n"}

IDLE = 1.0
"""Seconds that an idle upstream connection is kept where nobody says what the application does: half of the shortest keep-alive in wide use
(gunicorn's 2 s; uvicorn, Node and Go keep 5 s and more)."""

BUFFER = 256 << 10
"""Bytes that Envoy buffers for a connection before it stops reading from the other side."""

_API = "type.googleapis.com/envoy."
_HTTP_1 = {"allow_chunked_length": True, "enable_trailers": True}
"""A length beside chunks is dropped, as RFC 9112 (6.3) says and HAProxy does; by default Envoy refuses the message, and drops trailers."""
_ANY = 1 << 30
"""A circuit breaker that never trips: the limit on connections is the listener's, the limit on requests the application's."""


class Settings(NamedTuple):
    """What a bleen.yaml says of the router, resolved."""

    production: tuple[str, int]
    preview: tuple[str, int]
    tls: bool
    """Whether production is reached by TLS, with the certificate of ``certificate.json``."""
    connections: int
    """How many client connections are accepted; further ones are closed at once."""
    trusted: Sequence[str] = ()
    """The networks whose X-Forwarded-Proto is kept."""


def address(listen: str) -> tuple[str, int]:
    """An address and a port from "host:port". Raises Refused for a name or a port that cannot be bound."""
    host, colon, port = listen.rpartition(":")
    host = {"": "0.0.0.0", "*": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host).removeprefix("[").removesuffix("]")
    if not (colon and port.isdecimal() and 0 < int(port) < 65536 and is_ip(host)):
        raise Refused(f"the router cannot listen on {listen!r}: give an IP address and a port, such as 127.0.0.1:8080")
    return host, int(port)


def is_ip(host: str) -> bool:
    """Whether this is an address of IPv4 or IPv6, and not a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            return True
        except OSError:
            continue
    return False


def bootstrap(settings: Settings) -> Config:
    """What Envoy is started with; it does not change while it runs."""
    return {
        "node": {"id": "bleen", "cluster": "bleen"},
        "admin": {"address": {"pipe": {"path": ADMIN, "mode": 0o600}}, "ignore_global_conn_limit": True},
        # A look at /stats then makes every worker merge its histograms, which ``served`` uses as proof that each has come past the route that it was sent.
        "stats_flush_on_admin": True,
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _API + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": settings.connections,
                    },
                }
            ]
        },
        "dynamic_resources": {"cds_config": _followed(CLUSTERS)},
        "static_resources": {
            "listeners": [
                _listener("production", settings.production, settings.tls, settings.trusted),
                _listener("preview", settings.preview, False, settings.trusted),
            ],
        },
    }


def _followed(name: str) -> Config:
    return {"path_config_source": {"path": f"./{name}"}, "resource_api_version": "V3"}


def _listener(side: str, at: tuple[str, int], tls: bool, trusted: Sequence[str]) -> Config:
    chains = [_chain(side, tls)]
    if trusted:
        chains.append({**_chain(side, tls, hops=1), "filter_chain_match": {"source_prefix_ranges": _ranges(trusted)}})
    return {
        "name": side,
        "address": {"socket_address": {"address": at[0], "port_value": at[1], "ipv4_compat": at[0] == "::"}},  # [::] is everywhere, as with HAProxy
        "filter_chains": chains,
        "per_connection_buffer_limit_bytes": BUFFER,
        # One socket, not one for each worker: SO_REUSEPORT would let a second proxy of ours bind the same address and take half of the connections.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
    }


def _ranges(networks: Sequence[str]) -> list[Config]:
    """Each network once, as Envoy does not start with one that is named twice; and everybody in two halves: a chain that asks for nobody is 0.0.0.0/0 and ::/0
    to Envoy, which takes either of two chains with the same network.
    """
    halves = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
    parts = (each.partition("/") for each in dict.fromkeys(part for network in networks for part in halves.get(network, (network,))))
    return [{"address_prefix": address, "prefix_len": int(length)} for address, _, length in parts]


def _chain(side: str, tls: bool, hops: int = 0) -> Config:
    chain: Config = {"name": f"trusted-{hops}", "filters": [{"name": "http", "typed_config": _http(side, hops)}]}
    return {**chain, "transport_socket": {"name": "tls", "typed_config": _tls()}} if tls else chain


def _tls() -> Config:
    return {
        "@type": _API + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": "certificate", "sds_config": _followed("certificate.json")}],
        },
    }


def trial(chain: str, key: str) -> Config:
    """A bootstrap that is good if this certificate and key are: Envoy reads the files of one that follows another file when it is too late to refuse them."""
    context = {"tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}]}
    tls = {"@type": _API + "extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": context}
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"transport_socket": {"name": "tls", "typed_config": tls}}],
    }
    return {"static_resources": {"listeners": [listener]}}


def certificate(pem: str) -> Config:
    """A secret that names the file of both, and holds neither. Envoy reads it again when something is renamed into ``RENEWED``, and only then."""
    files = {"certificate_chain": {"filename": pem}, "private_key": {"filename": pem}, "watched_directory": {"path": f"./{RENEWED}"}}
    return {"@type": _API + "extensions.transport_sockets.tls.v3.Secret", "name": "certificate", "tls_certificate": files}


def _http(side: str, hops: int) -> Config:
    return {
        "@type": _API + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": side,
        "codec_type": "AUTO",
        "rds": {"route_config_name": side, "config_source": _followed(f"{side}.json")},
        "http_filters": [{"name": "router", "typed_config": {"@type": _API + "extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}}],
        "use_remote_address": True,  # sets X-Forwarded-Proto,
        "xff_num_trusted_hops": hops,  # but keeps the one that comes through a trusted hop
        "skip_xff_append": True,  # it would call a client on loopback by an address of this host's own; see ``routes``
        # Nobody is internal, so nobody may steer Envoy by x-envoy-* headers; an empty list would mean private addresses and loopback.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        "http_protocol_options": {
            **_HTTP_1,
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            "allow_custom_methods": True,
            # Any other upgrade would be 403; it is optional for a server (RFC 9110, 7.8), and Java's client asks for h2c with every first request.
            "ignore_http_11_upgrade": _other_than("websocket"),
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "proxy_100_continue": True,  # whether a body is wanted says the application (RFC 9110, 10.1.1), not Envoy
        "stream_idle_timeout": "0s",  # 5 min by default, which ends an idle WebSocket
        "request_timeout": "0s",
        "request_headers_timeout": "60s",  # for a client that never finishes its headers; no request has begun then
    }


def _other_than(word: str) -> list[Config]:
    """Matchers for every text but this word in any case: RE2 knows no negative look-ahead, and Envoy takes no long expressions."""
    leaves = [f"{word[:at]}([^{letter}].*)?" for at, letter in enumerate(word)]
    return [{"safe_regex": {"regex": f"(?i){each}"}} for each in (*leaves, f"{word}.+")]


def cluster(environment: Environment, targets: Sequence[Target], probe: Probe, keep_alive: float | None) -> Config:
    """An environment. Raises Refused for targets that Envoy cannot send to as they are."""
    for target in targets:
        if not (is_ip(target.host) and 0 < target.port < 65536):
            raise Refused(f"{environment} has a target that is no IP address and port: {target}")
    return {
        "@type": _API + "config.cluster.v3.Cluster",
        "name": str(environment),
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "per_connection_buffer_limit_bytes": BUFFER,
        "load_assignment": {"cluster_name": str(environment), "endpoints": [{"lb_endpoints": [_endpoint(t) for t in targets]}]},
        # Below 1 % healthy is none healthy: only then are failing targets tried. By default the workers hear of the second of two targets that fail (or
        # are well again) within a second only when that second is over.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"},
        "health_checks": [_health_check(probe)],
        "ignore_health_on_host_removal": True,
        "circuit_breakers": {
            "thresholds": [{"max_connections": _ANY, "max_pending_requests": _ANY, "max_requests": _ANY, "max_retries": _ANY}],
        },
        "typed_extension_protocol_options": {
            _API.removeprefix("type.googleapis.com/") + "extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _API + "extensions.upstreams.http.v3.HttpProtocolOptions",
                # The application must not be the one that closes: a request sent in the same instant would be lost.
                "common_http_protocol_options": {"idle_timeout": _seconds(IDLE if keep_alive is None else keep_alive / 2)},
                "explicit_http_config": {"http_protocol_options": _HTTP_1},
            }
        },
    }


def _endpoint(target: Target) -> Config:
    return {
        "endpoint": {
            "address": {"socket_address": {"address": target.host, "port_value": target.port}},
            "health_check_config": {"hostname": str(target)},  # the Host that a direct request would have
        }
    }


def _health_check(probe: Probe) -> Config:
    interval = _seconds(probe.interval)
    return {
        "timeout": _seconds(probe.patience),
        "interval": interval,
        "no_traffic_interval": interval,  # 60 s by default, and an idle environment has no traffic
        "healthy_threshold": 1,
        "unhealthy_threshold": probe.fall,
        "reuse_connection": False,  # a worker of the application is not to be held by our looking at it
        "http_health_check": {
            "path": probe.path,
            "expected_statuses": [{"start": 200, "end": 400}],
            # Any other status would count as dead at the first look; a retriable one counts as one of ``fall``.
            "retriable_statuses": [{"start": 100, "end": 200}, {"start": 400, "end": 600}],
        },
    }


def _seconds(length: float) -> str:
    return f"{max(length, 0.001):.3f}s"


def routes(side: str, shares: Mapping[Environment, int]) -> Config:
    """Where the production or the preview listener sends; no shares is 503."""
    shares = {e: s for e, s in sorted(shares.items()) if s}
    match: Config = {"match": {"prefix": "/"}}
    if not shares:
        match["direct_response"] = {"status": 503, "body": {"inline_string": NOBODY[side]}}
    else:
        match["route"] = _route(shares)
    return {
        "@type": _API + "config.route.v3.RouteConfiguration",
        "name": side,
        "validate_clusters": True,  # else a route to an unknown cluster would be taken, and answer 503
        "request_headers_to_add": [
            {"header": {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
        ],
        "request_headers_to_remove": ["x-envoy-external-address", "x-envoy-internal"],
        "virtual_hosts": [{"name": side, "domains": ["*"], "routes": [match]}],
    }


def _route(shares: Mapping[Environment, int]) -> Config:
    if len(shares) == 1:
        to: Config = {"cluster": str(next(iter(shares)))}
    else:
        to = {"weighted_clusters": {"clusters": [{"name": str(e), "weight": s} for e, s in shares.items()]}}
    return {
        **to,
        "timeout": "0s",  # 15 s by default
        "retry_policy": {
            # Only what provably never reached the application: no connection was had, or none of the request's bytes was written to it.
            "retry_on": "connect-failure,reset-before-request",
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.050s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": _API + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 3,
        },
    }


def response(resources: Iterable[Config]) -> str:
    """What a file of Envoy's holds: a DiscoveryResponse."""
    body = json.dumps(list(resources), separators=(",", ":"))
    return f'{{"version_info":"{zlib.crc32(body.encode()):08x}","resources":{body}}}'


def resources(text: str) -> list[Config]:
    """The inverse of ``response``. Raises ValueError for what is not one."""
    row = json.loads(text)
    if not isinstance(row, dict) or not isinstance(row.get("resources"), list) or not all(isinstance(r, dict) for r in row["resources"]):
        raise ValueError("this is not a DiscoveryResponse")
    return list(row["resources"])


def routing(known: Mapping[str, tuple[Target, ...]], production: Config | None, preview: Config | None) -> Routing:
    """What clusters with these targets and these routes do with traffic. A cluster that is not ours is nobody's business unless routes lead to it."""
    targets: dict[Environment, tuple[Target, ...]] = {}
    for name, each in known.items():
        with suppress(ValueError):
            targets[Environment.parse(name)] = each
    shares, unknown = shares_of(production)
    shown, beside = shares_of(preview)
    if len(shown) > 1:
        beside.append("more than one environment")
    told = ["; ".join(f"{side}: {each}" for each in odd) for side, odd in zip(SIDES, (unknown, beside), strict=True)]
    return Routing(shares, next(iter(shown), None), targets, told[0], beside=told[1])


def targets_of(cluster: Config) -> tuple[Target, ...]:
    """The targets of a cluster, as far as they are addresses."""
    found = []
    for locality in cluster.get("load_assignment", {}).get("endpoints", ()):
        for endpoint in locality.get("lb_endpoints", ()):
            at = endpoint.get("endpoint", {}).get("address", {}).get("socket_address", {})
            found.append(Target(str(at.get("address", "")), int(at.get("port_value", 0))))
    return tuple(found)


_NAME = re.compile(r".+-[0-9]+")
"""An environment's, as a cluster is called."""


def shares_of(config: Config | None) -> tuple[dict[Environment, int], list[str]]:
    """What routes do with traffic, and what of it cannot be said as shares."""
    if config is None:
        return {}, ["no routes"]
    try:
        host = config["virtual_hosts"][0]
        route = host["routes"][0]
        if len(config["virtual_hosts"]) + len(host["routes"]) > 2 or host["domains"] != ["*"] or route["match"] != {"prefix": "/"}:
            return {}, ["routes for some hosts or paths only"]
        if "direct_response" in route:
            status = route["direct_response"]["status"]
            return {}, [] if status == 503 else [f"every request is answered {status}"]
        to = route["route"]
        parts = {to["cluster"]: 100} if "cluster" in to else {c["name"]: int(c["weight"]) for c in to["weighted_clusters"]["clusters"]}
        if strangers := [name for name in parts if not _NAME.fullmatch(name)]:
            return {}, [f"a route to {' and '.join(strangers)}, which is no environment"]
        shares = {Environment.parse(name): share for name, share in parts.items()}
        return shares, [] if sum(shares.values()) == 100 else [f"shares that add up to {sum(shares.values())}"]
    except (ValueError, LookupError, TypeError):
        return {}, ["routes that are not ours"]
