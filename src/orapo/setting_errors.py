"""What pydantic finds wrong with settings, as one line: the key by its whole path, the value, what is allowed."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_BOUNDS = (("ge", "at least"), ("gt", "greater than"), ("le", "at most"), ("lt", "less than"))


def one_line(error: ValidationError, kind: type[Any], path: str = "") -> str:
    """The first of the errors: an unknown key before a missing one, and that before a value.

    Args:
        error: of pydantic.
        kind: the settings that it is about.
        path: of their section, "" for a whole config.
    """
    found = min(error.errors(include_url=False), key=_rank)
    lacks_item = found["type"] == "missing" and isinstance(found["loc"][-1], int)
    keys, owner, described = _place(kind, found["loc"][:-1] if lacks_item else found["loc"])
    key = ".".join([path, *keys] if path else keys)
    if found["type"] in _UNKNOWN:
        return _unknown(key, owner)
    if found["type"] in _MISSING and not lacks_item:
        needed = [f.name for f in fields(owner) if f.default is MISSING and f.default_factory is MISSING]
        return f"{key} is missing; {key.rpartition('.')[0] or 'the config'} needs {', '.join(needed)}"
    if found["type"] == "value_error":
        # What is wrong with a section as a whole starts with the name of one of its keys.
        dot = "." if _section(described) is not None else " "
        return f"{key}{dot}{found['ctx']['error']}".lstrip(".")
    return f"{key or kind.__name__} is {found['input']!r}; it must be {_allowed(described)}"


def _rank(found: ErrorDetails) -> int:
    return 0 if found["type"] in _UNKNOWN else 1 if found["type"] in _MISSING else 2


def _unknown(key: str, owner: type[Any]) -> str:
    section, dot, name = key.rpartition(".")
    known = [field.name for field in fields(owner)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {section}{dot}{near[0]}?)" if near else ""
    return f"{key} is not a setting{hint}; allowed: {', '.join(known)}"


def _place(kind: type[Any], location: tuple[int | str, ...]) -> tuple[list[str], type[Any], Any]:
    """The keys on the way to an error, the settings it is in, and the annotation there."""
    keys: list[str] = []
    owner, described = kind, kind
    is_choice = False  # of types; the part that follows tells which one pydantic tried
    for part in location:
        section = _section(described)
        if is_choice:
            is_choice = False
        elif section is not None:
            owner, known = section, section.__pydantic_fields__
            name = list(known)[part] if isinstance(part, int) and part < len(known) else str(part)
            keys.append(name)
            described = known.get(name, Any)
            is_choice = len([one for one in _tried(described) if one is not type(None)]) > 1
        elif (value := _value_of_mapping(described)) is not None and part != "[key]":
            keys.append(str(part))
            described = value
        elif isinstance(part, int):
            keys[-1] += f"[{part}]"
            described = _section_of_list(described) or described
    return keys, owner, described


def _value_of_mapping(annotation: Any) -> Any:
    """The type of a mapping's values; None where the annotation is no mapping."""
    mappings = [get_args(one) for one in _tried(annotation) if isinstance(get_origin(one), type)]
    return next((parts[1] for parts in mappings if len(parts) == 2 and ... not in parts and parts[0] is str), None)


def _section_of_list(annotation: Any) -> type[Any] | None:
    """The settings that each item of a list is; None where it is no list, or one of plain values."""
    parts = [get_args(one)[0] for one in _tried(annotation) if get_origin(one) is not None and get_args(one)]
    return next((section for part in parts if (section := _section(part)) is not None), None)


def _section(annotation: Any) -> type[Any] | None:
    return next((part for part in _tried(annotation) if isinstance(part, type) and is_dataclass(part)), None)


def _tried(annotation: Any) -> list[Any]:
    """The types that a value is validated against."""
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return [part for argument in get_args(annotation) for part in _tried(argument)] if is_union else [annotation]


def _allowed(annotation: Any, constraints: tuple[Any, ...] = ()) -> str:
    """The allowed values, in words."""
    if isinstance(annotation, FieldInfo):
        return _allowed(annotation.annotation, tuple(annotation.metadata))
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _allowed(parts[0], (*parts[1:], *constraints))
    if origin in (Union, types.UnionType):
        told = " or ".join(_allowed(part, constraints) for part in parts if part is not type(None))
        return f"{told}, or null" if type(None) in parts else told
    if origin is Literal:
        return f"one of {', '.join(str(part) for part in parts)}" if len(parts) > 1 else str(parts[0])
    if isinstance(annotation, type) and is_dataclass(annotation):
        return f"a section with {', '.join(field.name for field in fields(annotation))}"
    if annotation in _KINDS:
        return _with_bounds(annotation, constraints)
    if origin is tuple and ... not in parts:
        return f"a list of {len(parts)}, each {_allowed(parts[0])}"
    if isinstance(origin, type) and not issubclass(origin, Mapping):
        return f"a list, each {_allowed(parts[0])}"
    return "a mapping" if origin is not None else getattr(annotation, "__name__", str(annotation))


def _with_bounds(kind: type[Any], constraints: tuple[Any, ...]) -> str:
    flat = [c for one in constraints for c in (one.metadata if isinstance(one, FieldInfo) else (one,))]
    bounds = []
    for name, word in _BOUNDS:
        for bound in (getattr(c, name) for c in flat if getattr(c, name, None) is not None):
            # Whole numbers above 0 are better called at least 1.
            is_next = kind is int and name == "gt"
            bounds.append(f"at least {bound + 1}" if is_next else f"{word} {bound}")
    return f"{_KINDS[kind]}{', ' if bounds else ''}{' and '.join(bounds)}" if kind in (int, float) else _KINDS[kind]
