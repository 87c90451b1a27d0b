"""Settings that check themselves: types, ranges and choices stand in the annotations, and an error is one line.

Values are taken as they are: a boolean or a text is no number, NaN and infinity are none either, and a float is no
whole number. An int may stand where a float is asked for.
"""

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field
from enum import Enum
from pathlib import PurePath
from typing import (
    Annotated,
    Any,
    ParamSpec,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, Strict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema

from orapo.errors import SettingError
from orapo.setting_errors import one_line

Settings = TypeVar("Settings")
P = ParamSpec("P")
T = TypeVar("T")

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, le=100_000)]
"""Of what is held at a time; more is a slip of the hand that no machine survives."""
MOST_WORKERS = 256
NumWorkers = Annotated[int, Field(ge=0, le=MOST_WORKERS)]
"""Processes of one machine."""
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]

_BOUND = ("self", "cls")
"""What Python itself puts before the arguments."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_NAME_BYTES = 200
"""Of a folder's name; file systems end at 255."""
_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def _name_of_a_variable(value: object) -> object:
    if isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    raise ValueError("isn't the name of an environment variable; the key itself stays there")


def _http_address(value: str) -> str:
    address = urlsplit(value)
    if address.username or address.password or address.query:
        raise ValueError("holds a user, password or query; a key belongs in the environment, see api_key_variable")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"is {value!r}; it must be like http://HOST... or https://HOST...")
    import httpx  # a tenth of a second, for who asks a server

    try:
        httpx.URL(value).host.encode("idna")
        _ = address.port
    except (httpx.InvalidURL, ValueError):
        raise ValueError(f"is {value!r}, and there can be no such host or port") from None
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError(f"is {value!r}; it must be a text that isn't blank")
    return value


def _plain_name(value: str) -> str:
    is_plain = value.strip() and value not in (".", "..") and value.isprintable() and "/" not in value
    if not is_plain or len(value.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"is {value[:MAX_NAME_BYTES]!r}; it must be a name of at most {MAX_NAME_BYTES} bytes without '/'"
        )
    return value


VariableName = Annotated[str, BeforeValidator(_name_of_a_variable)]
"""Of the environment; what is refused is not repeated, as it may be a key."""
HttpAddress = Annotated[str, AfterValidator(_http_address)]
Text = Annotated[str, AfterValidator(_text)]
PlainName = Annotated[str, AfterValidator(_plain_name)]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings(kind: type[Settings]) -> type[Settings]:
    """Makes a class a frozen dataclass whose fields are checked against their annotations.

    ``__post_init__`` is for what concerns two fields: it raises ``SettingError`` with a message that starts with a
    field's name. A validator of one field raises ``ValueError`` with what follows the name ("is 3; it must be ...").

    Raises:
        SettingError: on construction, an unknown or missing field, or a value that is not allowed.
    """
    # A strict dataclass takes objects only; a section of a config is a mapping.
    kind.__get_pydantic_core_schema__ = classmethod(_from_mappings)  # type: ignore[attr-defined]
    made: Any = pydantic_dataclass(frozen=True, config=_CONFIG)(kind)
    check = made.__init__

    @functools.wraps(check)
    def construct(self: Any, *positional: Any, **named: Any) -> None:
        try:
            check(self, *positional, **named)
        except ValidationError as error:
            raise SettingError(one_line(error, type(self))) from None

    made.__init__ = construct
    return made  # type: ignore[no-any-return]


def _from_mappings(kind: type[Any], source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    schema = handler(source)
    return {**schema, "strict": False}


def read(kind: type[Settings], content: Mapping[str, Any], path: str = "") -> Settings:
    """Settings from a section of a config, its own sections included.

    Args:
        kind: made by ``settings``.
        content: by key.
        path: of the section, for errors; "" for a whole config.

    Raises:
        SettingError: names the first wrong key by its whole path, its value and what is allowed.
    """
    try:
        made: Settings = kind.__pydantic_validator__.validate_python(dict(content))  # type: ignore[attr-defined]
    except ValidationError as error:
        raise SettingError(one_line(error, kind, path)) from None
    return made


def is_settings(kind: object) -> bool:
    """Whether ``kind`` was made by ``settings``."""
    return isinstance(kind, type) and "__pydantic_validator__" in vars(kind)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """A function, or a constructor, whose arguments are checked against their annotations.

    Raises:
        SettingError: at a call, an argument that is not allowed.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*positional: P.args, **named: P.kwargs) -> T:
        given = signature.bind(*positional, **named).arguments
        valid = read(arguments_of(function), {name: value for name, value in given.items() if name not in _BOUND})
        taken = {name: getattr(valid, name) if name not in _BOUND else value for name, value in given.items()}
        return function(**taken)  # type: ignore[call-arg]

    return call


@functools.cache
def arguments_of(target: Callable[..., Any]) -> type[Any]:
    """The arguments of a function or constructor as settings; objects behind a protocol are not looked into."""
    function = inspect.getattr_static(target, "__init__") if isinstance(target, type) else target
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # names that only type checkers import
        hints = {}
    names: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name not in _BOUND:
            default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            names[name] = field(default=default, kw_only=True)
    annotations = {name: _checkable(hints.get(name, Any)) for name in names}
    return settings(type(target.__name__, (), {"__annotations__": annotations, **names}))


def _checkable(hint: Any) -> Any:
    """The annotation as a value of a config can meet it: a list may stand for a tuple, a text for a path or an enum."""
    parts = get_args(hint)
    if any(getattr(part, "_is_protocol", False) for part in (hint, *parts)):
        return Any
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_checkable(part) for part in parts)]  # noqa: UP007  the parts are known here only
    is_converted = isinstance(hint, type) and issubclass(hint, (Enum, PurePath))
    return Annotated[hint, Strict(False)] if is_converted or get_origin(hint) in (tuple, set, frozenset) else hint
