"""What ``bleen init`` writes."""


def template(router: str, service: str = "shop") -> str:
    """A good, commented bleen.yaml for a router, envoy or haproxy. It loads as it stands."""
    return _TEMPLATE.replace("@ROUTER@", router).replace("@SERVICE@", service)


_TEMPLATE = """\
# One service, and how it is released. `bleen check` reads this file, `bleen schema` describes all of it.
service: @SERVICE@

platform:
  process:
    # A list, not a shell line. {port} {version} {environment} {instance} are filled in for each copy; PORT is set too.
    command: [python3, app.py, --port, "{port}"]
    # The working directory, one for each version: `bleen deploy 1.0` runs releases/1.0.
    directory: releases/{version}
    env:
      VERSION: "{version}"
      ENVIRONMENT: "{environment}"
      # DATABASE_URL: ${DATABASE_URL}    # from env_file, or from whoever deploys; never stored in a plan, a log or the journal
    # env_file: .env                     # lines of NAME=value
    # user: shop                         # only root can choose one
    # ports: 20000-29999                 # each copy is given one
    replicas: 2
    stop: {signal: TERM, timeout: 10s}
    # How long the application keeps an idle connection open; the proxy closes it before (gunicorn: 2s, uvicorn: 5s, node: 5s).
    keep_alive: 2s

router:
  @ROUTER@:
    listen: "127.0.0.1:8080"     # where users come in; "0.0.0.0:80" for everybody
    preview: "127.0.0.1:8081"    # the way to the new version before it is promoted; keep it private
    # tls: {certificate: tls/fullchain.pem, key: tls/key.pem}
    # trusted: [10.0.0.0/8]      # where TLS ends in front of this: whose X-Forwarded-Proto the application is told

# The database that the versions share. A version brings its migrations: expanded before it starts, contracted when nobody needs the old shape any more.
# database:
#   url: ${DATABASE_URL}                          # postgresql://, mysql:// or sqlite:////path: no pooler, and as the role that owns the tables
#   migrations: releases/{version}/migrations
#   contract: manual                              # `bleen migrate contract` does it; auto: the release does
#   clone: ${CLONE_URL}                           # a copy that you made: each expand is carried out there first, and undone

checks:
  # 200 to 399 is well. An environment has `timeout` until all its copies are; three bad looks in a row (`fall`) and a copy is dead.
  health: {path: /health, interval: 200ms, timeout: 30s}
  # What must hold before users see a version.
  # smoke: smoke-tests.yml

# manual waits for `bleen promote`: {mode: manual, deadline: 2h, then: abort}
# A share at a time: {steps: [{share: 10, bake: 1m}, {share: 100, bake: 5m}]}
promotion: {mode: auto}
bake: 5s                # judged under production traffic for so long
rollback_window: 15m    # the old version stays warm after that, and `bleen rollback` returns to it at once
drain: 30s              # how long requests in flight may take when the old version is retired
after_window: stop      # what becomes of the old environment: stop | keep | {replicas: 1}
"""
