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
name ("count", "positive", "epsilon", ...), perhaps with a default, which makes the setting
optional, and a description: "count = 3: images a step", "mse|l1: the loss". Or a JSON schema of
its own. Without a description, the docstring's "Args" have it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from purification.plugins import problem_with, source_of, tree_of

LIBRARY = Path(__file__).parent
DECORATORS = {"attacks": "attack", "datasets": "source"}
"""By which functions of a room state facts (`contract.py` there)."""
LENGTHS = ("epsilon", "length")
"""Definitions of settings that are lengths in pixel units: an l-inf one, one of any norm."""


@dataclass(frozen=True)
class Facts:
    """What a class or function states.

    Attributes:
        name: of the class or function.
        file: where it stands.
        summary: the first paragraph of its docstring.
        stated: a class's attributes, in small letters; a function's keywords of `decorator`.
        decorator: of a function, that of `DECORATORS` that it has; of others "".
        parameters: of a function, its parameters, and whether each has a default, as `*args` has.
        arguments: what the docstring says of each, under "Args".
        methods: of a class, its methods with their parameters, inherited from the same file too; of
            a function None.
        bases: of a class, its bases that are not of the same file; those of this library as
            "package.module:name".
    """

    name: str
    file: Path
    summary: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    decorator: str = ""
    parameters: Mapping[str, bool] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, ast.arguments] | None = None
    bases: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Its settings, each as a JSON schema."""
        told = {name: {"description": text} for name, text in self.arguments.items()}
        found = self.stated.get("settings", {}).items()
        return {name: told.get(name, {}) | _schema_of(value) for name, value in found}

    @cached_property
    def cheaper(self) -> Mapping[str, Any]:
        """What its cheaper version takes, each as a JSON schema; nothing if it has none."""
        return {name: _schema_of(v) for name, v in self.stated.get("cheaper", {}).items()}

    @property
    def required(self) -> list[str]:
        """Those settings that have no default: neither in their schema nor as a parameter."""
        settings = self.settings.items()
        return [k for k, v in settings if "default" not in v and not self.parameters.get(k)]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Those that have one."""
        return {k: v["default"] for k, v in self.settings.items() if "default" in v}


def lengths_among(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the settings that are lengths in pixel units."""
    kinds = [f"#/$defs/{kind}" for kind in LENGTHS]
    return tuple(name for name, v in settings.items() if _schema_of(v).get("$ref") in kinds)


def holds_for(stated: bool | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> bool:
    """Whether that which a class or function states of itself is so with these settings: it states
    True, or the settings that make it so, all of which must hold."""
    if isinstance(stated, Mapping):
        return all(settings.get(name) == value for name, value in stated.items())
    return bool(stated)


def _schema_of(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        kind, _, description = value.partition(": ")
        name, optional, default = kind.partition(" = ")
        told = {"description": description} if description else {}
        form = {"enum": name.split("|")} if "|" in name else {"$ref": f"#/$defs/{name}"}
        return form | ({"default": _read(default)} if optional else {}) | told
    return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}


def _read(text: str) -> Any:
    """A number, list or None as Python has it; any other text as it is."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def facts_of(place: str) -> Facts:
    """What the class or function "package.module:name" states; nothing if its file has it from
    elsewhere. Raises ValueError, with the file, if there is no such thing, or if what it states
    cannot be read without running the file."""
    reader, name = _reader_of(place)
    return reader.facts(name) if name in reader.defined else Facts(name, reader.file)


def is_class(place: str) -> bool:
    """Whether "package.module:name" is a class, also one that its file imports by name or has
    inside a condition, where `facts_of` reads nothing. False of what cannot be found."""
    try:
        reader, name = _reader_of(place)
        module = place.partition(":")[0]
        package = module if reader.file.stem == "__init__" else module.rpartition(".")[0]
        for node in ast.walk(reader.tree):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return True
            if isinstance(node, ast.ImportFrom):
                origin = "." * node.level + (node.module or "")
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        return is_class(f"{resolve_name(origin, package)}:{alias.name}")
    except (ValueError, ImportError, RecursionError):  # not found, or imported in a circle
        pass
    return False


def facts_at(room: str, place: str) -> Facts:
    """Of the function of a room that has this name, or of a user's own at "package.module:name",
    which states nothing without the room's decorator, or a file. Raises as `facts_of`."""
    if ":" not in place:
        return decorated(room)[place]
    module, _, name = place.partition(":")
    own = facts_of(place) if source_of(module) else Facts(name, Path())
    return own if own.decorator == DECORATORS[room] else Facts(own.name, own.file)


def constant_of(place: str) -> Any:
    """The literal that a file assigns to the name "package.module:NAME". Raises as `facts_of`."""
    reader, name = _reader_of(place)
    return reader.literal(ast.Name(name, lineno=1), place)


@cache
def decorated(room: str) -> dict[str, Facts]:
    """The functions of a room that state facts by its decorator: by stated `name` or their own."""
    found = [f for f in built_in(room).values() if f.decorator == DECORATORS[room]]
    return {facts.stated.get("name", facts.name): facts for facts in found}


def built_in(room: str) -> dict[str, Facts]:
    """The facts of all that the files of a room of this library define, by name."""
    found: dict[str, Facts] = {}
    for file in sorted((LIBRARY / room).glob("*.py")):
        found |= facts_in(file)
    return found


def class_that_states(room: str, **fact: str) -> Any:
    """The first class of a room of this library that states a fact, imported."""
    facts = next(f for f in built_in(room).values() if fact.items() <= f.stated.items())
    return getattr(import_module(f"purification.{room}.{facts.file.stem}"), facts.name)


def facts_in(file: Path) -> dict[str, Facts]:
    """The facts of all classes and functions at a file's top level. Raises as `facts_of`."""
    reader = _reader(file, tree_of(file))
    return {name: reader.facts(name) for name in reader.defined}


def _reader_of(place: str) -> "tuple[_Reader, str]":
    module, _, name = place.partition(":")
    file = source_of(module)
    if (problem := problem_with(place)) or file is None:
        raise ValueError(problem)
    return _reader(file, tree_of(file)), name


@cache
def _reader(file: Path, tree: ast.Module) -> "_Reader":
    return _Reader(file, tree)


class _Reader:
    """Reads what one file states, of each class or function only what is asked for."""

    def __init__(self, file: Path, tree: ast.Module) -> None:
        self.file, self.tree = file, tree
        self.constants: dict[str, ast.expr] = {}
        self.imported: dict[str, str] = {}
        self.defined: dict[str, ast.ClassDef | ast.FunctionDef] = {}
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                self.defined[node.name] = node
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("purification."):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}:{alias.name}"
            for target, value in _assigned(node):
                self.constants[target] = value

    def facts(self, name: str) -> Facts:
        node = self.defined[name]
        return self.of_class(node) if isinstance(node, ast.ClassDef) else self.of_function(node)

    def of_class(self, node: ast.ClassDef) -> Facts:
        stated: dict[str, Any] = {}
        methods: dict[str, ast.arguments] = {}
        bases: list[str] = []
        for base in reversed(node.bases):  # what the first one has counts
            if isinstance(base, ast.Name) and base.id in self.defined and base.id != node.name:
                inherited = self.facts(base.id)
                stated |= inherited.stated
                methods |= inherited.methods or {}
                bases += inherited.bases
            else:
                root, dot, rest = ast.unparse(base).partition(".")
                start = self.imported.get(root) or self.imported.get("*", "")[:-1] + root
                bases.append(start + dot + rest)
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                methods[item.name] = item.args
            for target, value in _assigned(item):
                if target.isupper():
                    stated[target.lower()] = self.literal(value, f"{node.name}.{target}")
        summary = _summary(node)
        return Facts(node.name, self.file, summary, stated, methods=methods, bases=tuple(bases))

    def of_function(self, node: ast.FunctionDef) -> Facts:
        stated, name = {}, ""
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and self.called(call.func) in DECORATORS.values():
                name = self.called(call.func)
                stated = {
                    keyword.arg: self.literal(keyword.value, f"{node.name}: {keyword.arg}")
                    for keyword in call.keywords
                    if keyword.arg
                }
        given, defaults = [*node.args.posonlyargs, *node.args.args], node.args.defaults
        optional = {argument.arg for argument in given[len(given) - len(defaults) :]}
        named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        optional |= {argument.arg for argument, default in named if default is not None}
        parameters = {a.arg: a.arg in optional for a in (*given, *node.args.kwonlyargs)}
        if node.args.vararg:
            parameters[f"*{node.args.vararg.arg}"] = True
        return Facts(node.name, self.file, _summary(node), stated, name, parameters, _told(node))

    def called(self, node: ast.expr) -> str:
        """What a decorator is called where it comes from."""
        if isinstance(node, ast.Attribute):
            return node.attr
        name = node.id if isinstance(node, ast.Name) else ""
        return self.imported.get(name, name).rpartition(":")[2]

    def literal(self, node: ast.expr, place: str) -> Any:
        """The value of an expression of literals and constants."""
        match node:
            case ast.Constant():
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Tuple() | ast.List():
                values: list[Any] = []
                for item in node.elts:
                    if isinstance(item, ast.Starred):
                        values += self.literal(item.value, place)
                    else:
                        values.append(self.literal(item, place))
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
                return constant_of(self.imported[name])
        raise ValueError(
            f"{self.file}, line {node.lineno}: {place} must be made of literals, because the "
            "workflow reads it without running the file"
        )


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                yield target.id, node.value


def _summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    text = ast.get_docstring(node) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _told(node: ast.FunctionDef) -> dict[str, str]:
    """What a docstring says of each argument, under "Args:"."""
    block = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", ast.get_docstring(node) or "", re.M)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", block[1], re.M) if block else []
    return {name: " ".join(text.split()) for name, text in found}
