"""What a bleen.yaml may say: the models, and how their complaints become located faults with what would be right."""

import difflib
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import NullableSchema, WithDefaultSchema

from bleen.config.fields import (
    UNFIT,
    AfterWindow,
    Command,
    DatabaseUrl,
    Directory,
    Duration,
    DurationOrNone,
    Line,
    ListenAddress,
    Misfit,
    Network,
    OneTo100,
    PortRange,
    ServiceName,
    SignalName,
    Size,
    UrlPath,
    Variable,
    VariableName,
    fit,
    one_of,
)
from bleen.config.source import Fault, Source, Way, shown

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A mapping that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _set_aside(cls, value: Any, validate: Callable[[Any], Any]) -> Any:
        return value if value is UNFIT else validate(value)


class Stop(Strict):
    """How a copy of the service is asked to end."""

    signal: SignalName = Field(default="TERM", description="The signal that asks it to end: TERM, INT, QUIT ...")
    timeout: DurationOrNone = Field(default="10s", validate_default=True, description="How long it may take; then it is killed.")


class Process(Strict):
    """The service runs as processes of this host."""

    command: Command = Field(
        description="The program and its arguments, a list; no shell. {port} {version} {environment} {instance} are filled in.",
        examples=[["python3", "app.py", "--port", "{port}"]],
    )
    directory: Directory = Field(
        default=".", validate_default=True, description="The working directory, relative to this file. {version} is filled in.", examples=["releases/{version}"]
    )
    env: dict[VariableName, Variable] = Field(
        default={}, description="Variables, beside PORT, PATH and HOME. Templates as in command; ${NAME} is taken from whoever deploys, else from env_file."
    )
    env_file: Line | None = Field(default=None, description="A file of NAME=value lines, relative to this file: variables for the service, and for ${NAME}.")
    replicas: OneTo100 = Field(default=1, description="How many copies run in an environment.")
    stop: Stop = Field(default_factory=Stop, description="How a copy is asked to end.")
    keep_alive: Duration | None = Field(
        default=None, description="How long the application keeps an idle connection open; the proxy closes it before.", examples=["5s"]
    )
    user: Line | None = Field(default=None, description="The user that the service runs as; only root can choose one.")
    ports: PortRange = Field(
        default="20000-29999", validate_default=True, description="The ports that copies are given, one each: 20000-29999, or {from: 20000, to: 29999}."
    )
    log_size: Size = Field(default="10MB", validate_default=True, description="How large the log of a copy may grow until it is rotated; one old log is kept.")

    @model_validator(mode="after")
    def _enough_ports(self) -> "Process":
        if not fit(self.ports, self.replicas):
            return self
        low, high = self.ports
        if high - low + 1 < 2 * self.replicas:
            raise Misfit("ports", f"{high - low + 1} ports are not enough; two environments of {self.replicas} replicas need {2 * self.replicas}")
        return self


class Platform(Strict):
    """Where environments run."""

    process: Process = Field(description="As processes of this host.")


class Tls(Strict):
    """The listener speaks TLS."""

    certificate: Line = Field(description="The certificate with its chain, PEM, relative to this file.", examples=["tls/shop.pem"])
    key: Line = Field(description="Its private key, PEM, relative to this file.", examples=["tls/shop.key"])


class Proxy(Strict):
    """A proxy on this host, in front of the service."""

    listen: ListenAddress = Field(description="Where users reach the service.", examples=["127.0.0.1:8080"])
    preview: ListenAddress = Field(
        description="Where the idle environment is reached, by smoke tests and by you; keep it private.", examples=["127.0.0.1:8081"]
    )
    tls: Tls | None = Field(default=None, description="The listener speaks TLS with this certificate.")
    trusted: list[Network] = Field(
        default=[], description="Addresses and networks whose X-Forwarded-Proto is kept: what is in front and ends TLS.", examples=[["10.0.0.0/8"]]
    )

    @model_validator(mode="after")
    def _two_addresses(self) -> "Proxy":
        if fit(self.listen, self.preview) and self.listen.clashes(self.preview):
            raise Misfit("preview", f'{self.preview} cannot be listened on beside `listen`, {self.listen}; choose another port, such as "127.0.0.1:8081"')
        return self


class Router(Strict):
    """What moves production traffic; one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1, "maxProperties": 1})

    envoy: Proxy | None = Field(default=None, description="Envoy, which comes with bleen.")
    haproxy: Proxy | None = Field(default=None, description="HAProxy 2.6 or later, from the system's packages.")

    @model_validator(mode="after")
    def _just_one(self) -> "Router":
        if self.envoy and self.haproxy:
            raise Misfit("haproxy", "a service has one router; keep `envoy` or `haproxy`")
        if not self.envoy and not self.haproxy:
            raise ValueError("names no router; write `envoy:` or `haproxy:` with `listen` and `preview` below it")
        return self


class Health(Strict):
    """How a copy is asked whether it is well: GET, and 200 to 399 is well."""

    path: UrlPath = Field(default="/", description="What is asked.")
    interval: Duration = Field(default="200ms", validate_default=True, description="Between two looks at one copy.")
    timeout: Duration = Field(default="30s", validate_default=True, description="How long an environment may take until all its copies are well.")
    patience: Duration = Field(default="1s", validate_default=True, description="How long one look may take.")
    fall: OneTo100 = Field(default=3, description="How many looks in a row must fail until a copy is dead.")

    @model_validator(mode="after")
    def _time_to_look(self) -> "Health":
        if fit(self.interval, self.timeout) and self.timeout <= self.interval:
            raise Misfit(
                "timeout",
                f"after {self.timeout:g} s, the timeout, a copy that is not well at once has not been looked at again; make it longer than `interval`",
            )
        return self


class Checks(Strict):
    """What must hold of an environment before it is promoted."""

    health: Health = Field(default_factory=Health, description="The health check of each copy.")
    smoke: Line | None = Field(default=None, description="A file of smoke tests, relative to this file.", examples=["smoke-tests.yml"])


class Step(Strict):
    """One share of the traffic, and how long the new version is judged with it."""

    share: OneTo100 = Field(description="Percent of production traffic.")
    bake: DurationOrNone | None = Field(default=None, description="How long it is judged; the `bake` of the file unless told.", examples=["1m"])


class Promotion(Strict):
    """How users come to the new version."""

    mode: Annotated[str, one_of("auto", "manual"), WithJsonSchema({"enum": ["auto", "manual"]})] = Field(
        default="auto", description="auto: as soon as the checks pass. manual: when somebody says `bleen promote`."
    )
    deadline: Duration = Field(default="2h", validate_default=True, description="manual: how long that person may take.")
    then: Annotated[str, one_of("abort", "promote"), WithJsonSchema({"enum": ["abort", "promote"]})] = Field(
        default="abort", description="manual: what happens then: abort, or promote with nobody looking."
    )
    steps: list[Step] | None = Field(
        default=None, description="Shares of the traffic, growing, 100 last; one step of 100 unless told.", json_schema_extra={"minItems": 1}
    )

    @model_validator(mode="after")
    def _growing(self) -> "Promotion":
        if self.steps is None or not fit(self.steps) or not fit(*(step.share for step in self.steps)):
            return self
        shares = [step.share for step in self.steps]
        if not shares or shares[-1] != 100:
            raise Misfit("steps", "the last step is not 100; add {share: 100}, or no traffic would ever be all on the new version")
        if shares != sorted(set(shares)):
            raise Misfit("steps", f"the shares {', '.join(map(str, shares))} do not grow; each is larger than the one before")
        return self


class Database(Strict):
    """The database that the versions of the service share, and how its schema changes with a release."""

    url: DatabaseUrl = Field(
        description=(
            "The server itself, not a pooler, as a role that owns the tables. ${NAME} is taken from env_file or from whoever deploys; where both have it, and"
            " not the same value, that is refused."
        ),
        examples=["${DATABASE_URL}"],
    )
    migrations: Directory = Field(
        default="releases/{version}/migrations",
        validate_default=True,
        description="The version's migrations, relative to this file. {version} is filled in.",
    )
    contract: Annotated[str, one_of("manual", "auto"), WithJsonSchema({"enum": ["manual", "auto"]})] = Field(
        default="manual", description="manual: `bleen migrate contract` takes the old shape away. auto: the release does, once its gate is open."
    )
    clone: DatabaseUrl | None = Field(
        default=None,
        description="A copy of the database, which you made: each expand is carried out there first, and undone, before this one is touched.",
        examples=["${CLONE_URL}"],
    )
    apart: dict[ServiceName, Line] = Field(
        default={},
        description="Other services on this database, each with the reason why this one uses nothing that their migrations change: it need not ship those.",
        examples=[{"billing": "orders has tables of its own"}],
    )


class File(Strict):
    """bleen.yaml: one service, and how it is released."""

    service: ServiceName = Field(description="The name of the service; unique on this host.", examples=["shop"])
    platform: Platform = Field(description="Where environments run.")
    router: Router = Field(description="What moves production traffic; one of envoy, haproxy.")
    database: Database | None = Field(default=None, description="The database that the versions share; without it, no schema is changed.")
    checks: Checks = Field(default_factory=Checks, description="What must hold of an environment before it is promoted.")
    promotion: Promotion = Field(default_factory=Promotion, description="How users come to the new version.")
    bake: DurationOrNone = Field(default="10s", validate_default=True, description="How long the new version is judged under production traffic.")
    rollback_window: DurationOrNone = Field(
        default="15m", validate_default=True, description="How long the old version stays warm after the bake; `bleen rollback` returns to it at once."
    )
    drain: DurationOrNone = Field(default="30s", validate_default=True, description="How long requests in flight may take when an environment is retired.")
    after_window: AfterWindow = Field(
        default="stop", validate_default=True, description="What becomes of the old environment after the window: stop, keep or {replicas: N}."
    )

    @model_validator(mode="after")
    def _of_others(self) -> "File":
        if fit(self.service, self.database) and self.database and fit(self.database.apart) and self.service in self.database.apart:
            raise Misfit("database", f"apart names {self.service}, which is this service, which ships its own migrations; name others that are on its database")
        return self


class _Written(GenerateJsonSchema):
    """A key that need not be there is left out, and not written as null."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        return {key: value for key, value in super().default_schema(schema).items() if (key, value) != ("default", None)}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of bleen.yaml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **File.model_json_schema(schema_generator=_Written), "title": "bleen.yaml"}


def validated(model: type[M], source: Source) -> M | None:
    """The tree of a source as a model, with UNFIT where it does not fit; why is then among the faults of the source. None if nothing can be made of it.

    What was complained of is set aside, and the rest looked at again: a value that is wrong by itself hides none that do not go together.
    """
    if not source.whole:
        return None
    told = {(f.line, f.column) for f in source.faults}
    found, tree = list(_empty(source, model)), _copied(source.tree)
    misspelt: set[Way] = set()
    valid, going_on = None, True
    while going_on:
        try:
            valid, going_on = model.model_validate(tree), False
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
            found.extend(_fault(source, model, each) for each in errors if each["loc"] not in misspelt or isinstance(each.get("ctx", {}).get("error"), Misfit))
            misspelt.update(each["loc"][:-1] for each in errors if each["type"] == "extra_forbidden")  # what such a mapping lacks may be what was meant
            set_aside = [_set_aside(tree, model, each) for each in errors]
            going_on = all(set_aside)
    source.faults.extend(f for f in found if (f.line, f.column) not in told)  # what the reader could not take is said once
    return valid


def _copied(tree: Any) -> Any:
    """A tree whose mappings and lists are its own."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _set_aside(tree: Any, model: type[BaseModel], error: dict[str, Any]) -> bool:
    """Puts UNFIT where a value was complained of, or takes a key away that nobody knows; False if that is all of the tree."""
    way: Way = error["loc"]
    if error["type"] != "extra_forbidden":
        way = way[: _to_field(model, way)]
    for step in way[:-1]:
        if step != 0 or isinstance(tree, list):  # else it is the way into a single value that was taken for a list of one
            tree = tree[step] if tree is not UNFIT else tree
    if tree is UNFIT:
        return True
    if error["type"] == "extra_forbidden":
        del tree[way[-1]]
    elif way:
        tree[way[-1]] = UNFIT
    return bool(way)


def _to_field(model: type[BaseModel], way: Way) -> int:
    """How far a way leads to the last key on it that is a field of a model."""
    at: type[BaseModel] | None = model
    far, names_follow = 0, False
    for length, step in enumerate(way, 1):
        if names_follow:
            names_follow = False
        elif field := _fields(at).get(str(step)) if not isinstance(step, int) else None:
            at, far, names_follow = _model_in(field.annotation), length, get_origin(field.annotation) is dict
    return far


def _empty(source: Source, model: type[BaseModel], way: Way = ()) -> Iterator[Fault]:
    """Keys with nothing behind them, where leaving the key out would be allowed."""
    tree = source.at(way)
    for key, field in _fields(model).items() if isinstance(tree, dict) else ():
        if key not in tree:
            continue
        if tree[key] is None and type(None) in get_args(field.annotation):
            yield source.fault((*way, key), f"{key}: is empty; give it a value, or remove the line")
        elif isinstance(tree[key], dict) and (below := _model_in(field.annotation)):
            yield from _empty(source, below, (*way, key))


def _fault(source: Source, model: type[BaseModel], error: dict[str, Any]) -> Fault:
    way: tuple[str | int, ...] = error["loc"]
    kind: str = error["type"]
    on_key = bool(way) and way[-1] == "[key]"
    if on_key:
        way = way[:-1]
    key = str(way[-1]) if way else ""
    if kind == "missing":
        return source.fault(way[:-1], _missing(model, way, key))
    if kind == "extra_forbidden":
        return source.fault(way, _unknown(model, way, key), key=True)
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Misfit):
        return source.fault((*way, cause.key), f"{_named((*way, cause.key))}{cause}")
    if isinstance(cause, ValueError):
        return source.fault(way, f"{_named(way)}{cause}", key=on_key)
    return source.fault(way, _wrong_kind(model, way, kind, error))


def _named(way: Way) -> str:
    """What a message is about: the last key, with the index behind it if it is one of a list."""
    key = next((str(step) for step in reversed(way) if isinstance(step, str)), "")
    index = f"[{way[-1]}]" if way and isinstance(way[-1], int) else ""
    return f"{shown(key)}{index}: " if key else ""


def _missing(model: type[BaseModel], way: Way, key: str) -> str:
    holder = _model_at(model, way[:-1])
    where = ".".join(map(shown, way[:-1]))
    field = _fields(holder).get(key)
    examples = field.examples if field else None
    example = f"; for example `{key}: {_flow(examples[0])}`" if examples else ""
    return f"`{key}` is missing{' in ' + where if where else ''}{example}"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return f'"{value}"' if ":" in str(value) or "{" in str(value) else str(value)


def _unknown(model: type[BaseModel], way: Way, key: str) -> str:
    holder = _model_at(model, way[:-1])
    known = list(_fields(holder))
    where = ".".join(map(shown, way[:-1])) or "this file"
    text = f"`{shown(key)}` is not a key of {where}"
    if close := difflib.get_close_matches(key[:60], known, 1):
        return f"{text}; did you mean `{close[0]}`?"
    if homes := [place for place, name in _keys(model) if name == key and place]:
        return f"{text}; it belongs under `{homes[0]}`"
    return f"{text}; there are {', '.join(known)}"


def _wrong_kind(model: type[BaseModel], way: Way, kind: str, error: dict[str, Any]) -> str:
    found = {dict: "a mapping", list: "a list", type(None): "empty"}.get(type(error.get("input")), "a single value")
    holder = _model_at(model, way)
    if kind in ("model_type", "model_attributes_type") and holder is not None:
        return f"{_named(way)}is {found}; it is a mapping with the keys {', '.join(_fields(holder))}"
    wanted = {"list_type": "a list", "dict_type": "a mapping"}.get(kind)
    return f"{_named(way)}is {found}; it is {wanted}" if wanted else f"{_named(way)}{error['msg']}"


def _model_at(model: type[BaseModel], way: Way) -> type[BaseModel] | None:
    """The model of the mapping at the end of a way."""
    at: type[BaseModel] | None = model
    names_follow = False
    for step in way:
        if isinstance(step, int):
            continue
        if names_follow:  # a mapping of names that the file chooses
            names_follow = False
            continue
        field = _fields(at).get(step)
        at = _model_in(field.annotation) if field else None
        names_follow = field is not None and get_origin(field.annotation) is dict
    return at


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """The fields of a model by the keys that a file uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    """Every key below a model, with the way to its mapping."""
    for name, field in _fields(model).items():
        yield above, name
        if below := _model_in(field.annotation):
            yield from _keys(below, f"{above}.{name}" if above else name)
