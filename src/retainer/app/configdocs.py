"""``docs/configuration.md``, made from the settings: ``python -m retainer.app.configdocs > docs/configuration.md``.

Names, types, ranges and defaults are read from the models, meanings from the text beside each field, so the page
cannot say anything else than what the service does.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from retainer.app.config import OTHER_VARIABLES, PREFIX, AgentSettings, Settings

_KINDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    Decimal: "number",
    str: "text",
    Path: "path",
    date: "date",
    SecretStr: "secret text",
    Any: "anything",
}
_HEAD = """\
<!-- Made by `python -m retainer.app.configdocs > docs/configuration.md`; edit the settings models instead. -->
# Configuration

Nothing has to be configured. What is set is read in this order, the last one wins:

1. the defaults below,
2. `retainer.toml` in the data folder (or the file that `RETAINER_CONFIG` names),
3. environment variables: `RETAINER_` and the name, with two underscores between table and field.

```toml
# retainer.toml
model = "small"

[trading.replay]
seconds_per_bar = 5
```

The same for one run: `RETAINER_MODEL=small RETAINER_TRADING__REPLAY__SECONDS_PER_BAR=5 retainer up`.
A wrong file or a misspelt name starts nothing: the error names the place and what was expected.
An empty variable counts as not set.
"""


def configuration_page() -> str:
    """The whole page, as Markdown."""
    top = [(name, field) for name, field in Settings.model_fields.items() if _table(field) is None]
    parts = [_HEAD, _section("", Settings, top), _variables()]
    for name, field in Settings.model_fields.items():
        model = _table(field)
        if model is not None:
            parts += _tables(name, model)
    parts += _tables("agents.<name>", AgentSettings)
    return "\n".join(parts).rstrip() + "\n"


def _tables(path: str, model: type[BaseModel]) -> Iterator[str]:
    """The section of one table, then those of the tables in it."""
    plain = [(name, field) for name, field in model.model_fields.items() if _table(field) is None]
    yield _section(path, model, plain)
    for name, field in model.model_fields.items():
        inner = _table(field)
        if inner is not None:
            yield from _tables(f"{path}.{name}", inner)


def _section(path: str, model: type[BaseModel], fields: list[tuple[str, FieldInfo]]) -> str:
    texts = field_texts(model)
    lines = ["## Top level" if not path else f"## [{path}]", ""]
    if path:
        variable = PREFIX + path.upper().replace(".", "__")
        lines += [f"{_flat(inspect.getdoc(model) or '')} Variables: `{variable}__...`", ""]
    if fields:
        lines += ["| name | value | default | meaning |", "|---|---|---|---|"]
    for name, field in fields:
        meaning = _cell(field.description or texts.get(name, ""))
        lines.append(f"| `{name}` | {_cell(_value(field))} | {_cell(_default(name, field))} | {meaning} |")
    return "\n".join([*lines, ""])


def _variables() -> str:
    lines = ["## Variables that are no settings", "", "| name | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in OTHER_VARIABLES.items()]
    return "\n".join([*lines, ""])


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The string that stands under each field in the source of ``model`` and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls.__module__.startswith("pydantic"):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
        for node, following in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_text(following):
                found[node.target.id] = ast.literal_eval(following.value)  # type: ignore[attr-defined]  # just checked
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _table(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _value(field: FieldInfo) -> str:
    """Type and range in words."""
    low = high = ""
    pattern = ""
    for rule in field.metadata:
        low = f"at least {rule.ge}" if getattr(rule, "ge", None) is not None else low
        low = f"more than {rule.gt}" if getattr(rule, "gt", None) is not None else low
        high = f"at most {rule.le}" if getattr(rule, "le", None) is not None else high
        high = f"less than {rule.lt}" if getattr(rule, "lt", None) is not None else high
        pattern = getattr(rule, "pattern", None) or pattern
    limits = [part for part in (low, high, f"like `{pattern}`" if pattern else "") if part]
    return ", ".join([_kind(field.annotation), *limits])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(_kind(each) for each in arguments if each is not type(None))
    if origin in {tuple, list}:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "table" if arguments[1] is not AgentSettings else "a table for each name, see below"
    return _KINDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    if field.default_factory is not None:
        return "the platform's folder" if name == "data" else "none"
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", ()):
        return "none"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return str(value) if isinstance(value, int | float | Decimal | date) else f'"{value}"'


def _flat(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split()))


def _cell(text: str) -> str:
    return _flat(text).replace("|", "\\|")


def main() -> None:
    """Print the page."""
    sys.stdout.write(configuration_page())


if __name__ == "__main__":
    main()
