"""Every statement between a job's intent and its stored handle as a point where a process can be killed.

Import it before anything of Retune: it puts a counter before each statement of the modules that lie on
that way, so that a process can be killed (`kill -9`) at the n-th statement that it runs. A trace function
would do the same, but slows all other code down tenfold.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

WAY = ("retune.backends.posting", "retune.backends.openai_", "retune.backends.vertex_", "retune.state.jobs")
_STEP = "__crash_point__"

_run = 0
_kill_at = 0


def arm(at: int) -> None:
    """Kill this process at the `at`-th statement from now on; 0: never."""
    global _run, _kill_at
    _run, _kill_at = 0, at


def count() -> int:
    """Return how many statements ran since `arm`."""
    return _run


def _step() -> None:
    global _run
    _run += 1
    if _run == _kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


def counted(source: bytes) -> ast.Module:
    """Return the module with a counter before every statement inside a function."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in list(ast.walk(tree)):
        if id(node) not in inside:
            continue
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):  # a lambda's body is no block
                setattr(node, field, [one for item in block for one in (*_counter(item), item)])
    return tree


def _counter(statement: ast.stmt) -> list[ast.stmt]:
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    if text or isinstance(statement, ast.Nonlocal | ast.Global):  # they must come first
        return []
    call = ast.Expr(ast.Call(ast.Name(_STEP, ast.Load()), [], []))
    return [ast.fix_missing_locations(ast.copy_location(call, statement))]


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        return compile(counted(data), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[_STEP] = _step
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(WAY):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return spec
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


if any(name.startswith(WAY) for name in sys.modules):
    raise ImportError("import benchmarks.crash_points before anything of retune.backends")
sys.meta_path.insert(0, _Finder())
