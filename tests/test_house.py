"""The rules of the house, as tests: who may import whom, types, style, and nothing that runs what a file says."""

import ast
import re
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


BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"lightning", "jsonargparse", "lmdb", "yaml", "torchmetrics"}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
import torch
import unblur
picture = torch.rand(3, 40, 40)
unblur.deblur(picture, model="fast")
unblur.frames(picture, n=2, model="fast").tensor()
unblur.inspect(picture, model="fast")
unblur.order(torch.rand(3, 3, 64, 64))
code = unblur.encode_blur(picture, picture)
unblur.apply_blur(picture, code)
from unblur.tasks.search import SearchPlan
unblur.deblur_by_search(picture, SearchPlan(steps=1), model="fast")
from unblur.cli import main
assert main(["train", "recipe.yaml"]) == 1
"""


def test_pictures_need_nothing_that_training_needs():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "unblur: lightning: is not installed; needs pip install 'unblur[train]'"


def strings_of(tree: ast.AST) -> list[str]:
    """Texts that a program may print: all but docstrings."""
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    # The texts below assignments describe attributes.
    documented |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documented]
    return [node.value for node in found if isinstance(node.value, str)]


PROGRAMS = ("pip ", "npm ", "python ")
PARSES_OPTIONS = {"recipe.py"}
"""Recipes take their fields as options of a parser of their own."""


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name != "cli"], ids=lambda path: path.stem)
def test_below_the_command_line_nobody_speaks_of_options(path):
    texts = strings_of(ast.parse(path.read_text(encoding="utf-8")))
    options = [text for text in texts if re.search(r"(^|[\s(])--[a-z]", text) and not text.startswith(PROGRAMS)]
    assert path.name in PARSES_OPTIONS or options == []


def names_given(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def test_no_module_gives_a_name_twice():
    """The second value would count for the code above it too."""
    for path in SOURCES:
        names = [name for node in ast.parse(path.read_text(encoding="utf-8")).body for name in names_given(node)]
        assert sorted(names) == sorted(set(names)), path
