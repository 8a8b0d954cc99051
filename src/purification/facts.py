"""What code states of itself, read from its source: nothing is imported and nothing is run.

A class states facts by attributes in capital letters, a function by the keywords of a decorator:

    class Denoiser(Purifier):
        '''Removes noise in one pass.'''
        SETTINGS = {"width": "count", "noise": {"type": "number", "minimum": 0, "default": 0.1}}

    @attack(norm="linf", settings={"epsilon": "epsilon"})
    def fgsm(model, images, labels, *, epsilon): ...

The config is checked by them before any job runs, where neither torch nor a user's own code is
loaded. So they must be literals, or made of literal constants of the same file, or of one of this
library that it imports them from.

Settings are a mapping from names to what each may be: a definition of the config's schema by its
name ("count", "positive", "epsilon", ...), or a JSON schema of its own, in which a `default` makes
the setting optional and a `description` explains it.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from purification.plugins import source_of

LIBRARY = Path(__file__).parent


@dataclass(frozen=True)
class Facts:
    """What a class or function states.

    Attributes:
        name: of the class or function.
        file: where it stands.
        summary: the first paragraph of its docstring.
        stated: a class's attributes, in small letters; a function's keywords of `decorator`.
        decorator: of a function, the name of its first decorator that is called; of a class "".
        parameters: of a function, its keyword-only parameters, and whether each has a default.
        methods: of a class, the names of its methods, inherited from the same file too; of a
            function None.
    """

    name: str
    file: Path
    summary: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    decorator: str = ""
    parameters: Mapping[str, bool] = field(default_factory=dict)
    methods: tuple[str, ...] | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings, each as a JSON schema."""
        found = self.stated.get("settings", {})
        return {name: _schema_of(value) for name, value in found.items()}

    @property
    def required(self) -> list[str]:
        """Those settings that have no default: neither in their schema nor as a parameter."""
        return [
            name
            for name, value in self.settings.items()
            if "default" not in value and not self.parameters.get(name)
        ]

    @property
    def defaults(self) -> dict[str, Any]:
        """Those that have one."""
        return {k: v["default"] for k, v in self.settings.items() if "default" in v}


def _schema_of(value: Any) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{value}"} if isinstance(value, str) else dict(value)


def facts_of(place: str) -> Facts:
    """What the class or function "package.module:name" states.

    Raises ValueError, with the file, if there is no such thing, or if what it states cannot be read
    without running the file.
    """
    module, _, name = place.partition(":")
    file = source_of(module)
    if file is None:
        raise ValueError(f"module {module!r} is neither installed nor in the current folder")
    found = facts_in(file)
    if name not in found:
        raise ValueError(f"{file} has no {name!r} at its top level")
    return found[name]


def built_in(room: str) -> dict[str, Facts]:
    """The facts of all that the files of a room of this library define, by name."""
    found: dict[str, Facts] = {}
    for file in sorted((LIBRARY / room).glob("*.py")):
        found |= facts_in(file)
    return found


def facts_in(file: Path) -> dict[str, Facts]:
    """The facts of all classes and functions at a file's top level. Raises ValueError as
    `facts_of`."""
    return _facts_in(file, file.stat().st_mtime_ns)


@cache
def _facts_in(file: Path, _: int) -> dict[str, Facts]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file} is not Python: {error}") from error
    reader = _Reader(file, tree)
    found: dict[str, Facts] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = reader.of_class(node, found)
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = reader.of_function(node)
    return found


class _Reader:
    """Reads literals of one file."""

    def __init__(self, file: Path, tree: ast.Module) -> None:
        self.file = file
        self.constants: dict[str, ast.expr] = {}
        self.imported: dict[str, str] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("purification."):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}:{alias.name}"
            for target, value in _assigned(node):
                self.constants[target] = value

    def of_class(self, node: ast.ClassDef, known: Mapping[str, Facts]) -> Facts:
        stated: dict[str, Any] = {}
        methods: dict[str, None] = {}
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in known:
                stated |= known[base.id].stated
                methods |= dict.fromkeys(known[base.id].methods or ())
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                methods[item.name] = None
            for target, value in _assigned(item):
                if target.isupper():
                    stated[target.lower()] = self.literal(value, f"{node.name}.{target}")
        summary = _summary(node)
        return Facts(node.name, self.file, summary, stated, methods=tuple(methods))

    def of_function(self, node: ast.FunctionDef) -> Facts:
        stated, name = {}, ""
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name):
                name = decorator.func.id
                stated = {
                    keyword.arg: self.literal(keyword.value, f"{node.name}: {keyword.arg}")
                    for keyword in decorator.keywords
                    if keyword.arg
                }
                break
        defaults = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        parameters = {argument.arg: default is not None for argument, default in defaults}
        return Facts(node.name, self.file, _summary(node), stated, name, parameters)

    def literal(self, node: ast.expr, place: str) -> Any:
        """The value of an expression of literals and constants."""
        match node:
            case ast.Constant():
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Tuple() | ast.List():
                values = [self.literal(item, place) for item in node.elts]
                return tuple(values) if isinstance(node, ast.Tuple) else values
            case ast.Dict():
                made: dict[Any, Any] = {}
                for key, value in zip(node.keys, node.values, strict=True):
                    read = self.literal(value, place)
                    made |= read if key is None else {self.literal(key, place): read}
                return made
            case ast.Name(id=name) if name in self.constants:
                return self.literal(self.constants[name], place)
            case ast.Name(id=name) if name in self.imported:
                return self._imported(self.imported[name], place)
        raise ValueError(
            f"{self.file}, line {node.lineno}: {place} must be made of literals, because the "
            "workflow reads it without running the file"
        )

    def _imported(self, origin: str, place: str) -> Any:
        module, _, name = origin.partition(":")
        file = source_of(module)
        assert file is not None
        reader = _Reader(file, ast.parse(file.read_bytes()))
        return reader.literal(ast.Name(name, lineno=1), place)


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    value = getattr(node, "value", None)
    for target in targets:
        if isinstance(target, ast.Name) and value is not None:
            yield target.id, value


def _summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    text = ast.get_docstring(node) or ""
    return " ".join(text.partition("\n\n")[0].split())
