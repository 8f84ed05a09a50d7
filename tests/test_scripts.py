"""Every script in `benchmarks/` and `research/` can be imported, and says how it is run."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "research") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scripts_explain_themselves(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, "path", [*sys.path])
    main = runpy.run_path(str(script)).get("main")
    if main is None:
        assert script.stem == "learning", "a script without main() that no other script shares"
        return
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (None, 0)
    assert f"python {script.parent.name}/{script.name}" in capsys.readouterr().out


def test_documents_name_scripts_that_exist():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "research").glob("*.md")]
    for page in pages:
        for word in page.read_text(encoding="utf-8").replace("`", " ").split():
            if word.startswith(("benchmarks/", "research/")) and word.endswith(".py"):
                assert (ROOT / word).exists(), f"{page.name}: {word}"
