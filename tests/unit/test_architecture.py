"""The house rules that a machine can check: who imports whom, names and sizes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugins" / "retune"
MODULES = sorted(PACKAGE.rglob("*.py"))

STAGES = {"data", "advice", "backends", "evaluation", "serving", "monitoring"}
# Each layer may import from itself and from those above it in this list.
LAYERS = [
    {"errors", "records", "__init__"},
    {
        "addresses",
        "artifacts",
        "connections",
        "documents",
        "prices",
        "public_web",
        "settings",
        "spec",
        "stats",
        "stored",
        "text",
    },  # fmt: skip
    {"state", "tracking"},
    STAGES | {"training"},
    {
        "airflow",
        "demo",
        "testing",
        "cli",
        "checking",
        "doctor",
        "erasure",
        "evaluating",
        "jobs_command",
        "migrate",
        "pools",
        "schema",
        "spending",
        "starting",
        "status",
        "upkeep",
    },  # fmt: skip
]
HEAVY = {
    "great_expectations", "evidently", "torch", "transformers", "trl", "peft", "datasets", "mlflow", "openai",
    "google.genai", "pandas", "sklearn", "scipy", "statsmodels", "plotly", "fsspec",
}  # fmt: skip
# Interpreter of its own: nothing of Retune but these.
TRAINER_MAY = {"errors", "training", "__init__"}
SDKS = {
    "airflow", "openai", "google", "torch", "transformers", "trl", "peft", "datasets", "mlflow", "evidently",
    "great_expectations", "pandas", "numpy", "fsspec", "vllm", "envoy", "sqlalchemy", "alembic", "pydantic",
    "yaml", "httpx", "typer", "rich", "psutil", "plotly", "scipy", "sklearn", "statsmodels", "filelock",
}  # fmt: skip
BANNED = {"utils", "util", "helpers", "helper", "manager", "common", "handler", "handlers"}
MOST_LINES, MOST_FUNCTION_LINES = 250, 40


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    """The top-level folder or module below `retune`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def imports(tree: ast.AST) -> Iterator[str]:
    """All modules that are imported anywhere in the tree, as dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import absolutely"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_level(tree: ast.Module) -> Iterator[str]:
    """The modules that importing this one imports: no function bodies, no TYPE_CHECKING."""
    todo: list[ast.stmt] = list(tree.body)
    for node in todo:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
            todo.extend(
                statement
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.ExceptHandler)
                for statement in child.body
            )


def retune_parts(tree: ast.AST) -> set[str]:
    return {
        name.split(".")[1] for name in imports(tree) if name.startswith("retune.") and name.count(".") >= 1
    }


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(params=MODULES, ids=name_of)
def module(request: pytest.FixtureRequest) -> tuple[Path, ast.Module]:
    path: Path = request.param
    return path, parsed(path)


def test_every_part_has_a_layer() -> None:
    known = set().union(*LAYERS)
    assert {part_of(path) for path in MODULES} <= known


def test_dependencies_point_one_way(module: tuple[Path, ast.Module]) -> None:
    path, tree = module
    part = part_of(path)
    for used in retune_parts(tree) & set().union(*LAYERS):
        assert layer_of(used) <= layer_of(part), f"retune.{part} may not import retune.{used}"
        if part in STAGES and used in STAGES:
            assert used == part, f"stage {part} may not import stage {used}"


def test_only_the_airflow_package_imports_airflow(module: tuple[Path, ast.Module]) -> None:
    path, tree = module
    if part_of(path) != "airflow":
        assert not [name for name in imports(tree) if name.split(".")[0] == "airflow"]


def test_the_trainer_imports_nothing_else_of_retune(module: tuple[Path, ast.Module]) -> None:
    path, tree = module
    if part_of(path) == "training":
        assert retune_parts(tree) <= TRAINER_MAY


def test_heavy_libraries_load_inside_functions(module: tuple[Path, ast.Module]) -> None:
    _, tree = module
    loaded = {name for name in module_level(tree) for heavy in HEAVY if f"{name}.".startswith(f"{heavy}.")}
    assert not loaded


def test_files_and_functions_are_small(module: tuple[Path, ast.Module]) -> None:
    path, tree = module
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
    for node in ast.walk(tree):
        # A migration is one long list of tables.
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "migrations" not in path.parts:
            assert function_lines(node) <= MOST_FUNCTION_LINES, f"{node.name} is too long"


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_names_say_something(module: tuple[Path, ast.Module]) -> None:
    path, tree = module
    names = [path.stem] + [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    for name in names:
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).split("_")
        assert not BANNED & set(words), name


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_no_file_shadows_another_module(path: Path) -> None:
    # Where Airflow's loader misses .airflowignore it runs each file as sys.modules[<stem>].
    if path.stem not in ("__init__", "__main__"):
        assert path.stem not in SDKS | set(sys.stdlib_module_names)
