"""The rules of the house, as tests: who may import whom, types, style, and nothing that runs what a file says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_point_down():
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_style():
    run("ruff", "check", "src", "tests", "benchmarks", "research", "examples")
    run("ruff", "format", "--check", "src", "tests", "benchmarks", "research", "examples")


def test_types():
    run("mypy")


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if ast.unparse(node.func) == name]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_file_can_run_code(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not calls(tree, "eval")
    assert not calls(tree, "exec")
    for name in ("pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "os.system"):
        assert not calls(tree, name)
    for call in calls(tree, "torch.load"):
        safe = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert safe.get("weights_only") == "True", f"{path}:{call.lineno}"


def test_no_machine_in_the_tree():
    names = [
        path for folder in ("src", "recipes", "docs", "benchmarks", "research") for path in (ROOT / folder).rglob("*")
    ]
    for path in names:
        if path.suffix in {".py", ".yaml", ".md"}:
            assert "/work/" not in path.read_text(encoding="utf-8"), path
