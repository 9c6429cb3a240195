"""The shape of the code: layers, sizes, and what is caught."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

from tests.arch.tree import ROOT, tracked

SOURCES = ("enforcer/*.py", "deploy/*.py", "bench/*.py")
BROAD = {
    "enforcer/edges/bpf/compiler.py": "bcc raises bare Exception; the child process answers with its message",
    "enforcer/runtime/supervisor.py": "the end of a thread: the failure is kept, and the main thread ends with it",
}
"""Where everything may be caught, and why there."""


def functions(path):
    """(name, lines) of every function in a file, docstrings and blank lines included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def catches_all(handler):
    """Whether an except clause takes Exception, BaseException, or whatever comes."""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(t is None or (isinstance(t, ast.Name) and t.id in ("Exception", "BaseException")) for t in types)


def test_layers_import_downwards_only():
    """cli > app > runtime > edges, sinks, posture > abi, settings > core > errors, and a core without I/O."""
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_function_is_longer_than_forty_lines():
    """What does not fit is two things."""
    assert [(name, n) for path in tracked(*SOURCES) for name, n in functions(path) if n > 40] == []


def test_functions_are_short():
    """Half of all functions have at most ten lines, nine in ten at most twenty-five: the norm of our models."""
    lengths = sorted(n for path in tracked(*SOURCES) for _, n in functions(path))
    assert statistics.median(lengths) <= 10
    assert lengths[len(lengths) * 9 // 10] <= 25


def test_no_file_is_longer_than_three_hundred_lines():
    """Python and C alike."""
    files = tracked(*SOURCES, "probes/*.[ch]")
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_nothing_catches_everything():
    """A broad except hides the bug that it meets; the few that must be have their reason in this file."""
    found = {
        str(path.relative_to(ROOT))
        for path in tracked(*SOURCES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    }
    assert found == set(BROAD)


def test_modules_are_named_for_what_they_hold():
    """No drawer for leftovers."""
    drawers = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [p for p in tracked(*SOURCES) if p.stem in drawers] == []
