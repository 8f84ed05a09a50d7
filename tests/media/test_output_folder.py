from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unblur.errors import UnblurError
from unblur.media import output_folder as module
from unblur.media.output_folder import OutputFolder


def test_one_at_a_time(tmp_path: Path) -> None:
    first = OutputFolder(tmp_path)
    with pytest.raises(UnblurError, match="is being written by another run"):
        OutputFolder(tmp_path)
    first.release()
    second = OutputFolder(tmp_path)
    del second  # forgotten
    with OutputFolder(tmp_path):
        pass
    OutputFolder(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_locks_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from unblur.media.output_folder import OutputFolder;"
        "folder = OutputFolder(sys.argv[1]); print(1, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UnblurError):
        OutputFolder(tmp_path)
    process.kill()
    process.communicate()
    OutputFolder(tmp_path).release()


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    for folder in [OutputFolder(tmp_path), OutputFolder(tmp_path)]:
        folder.release()


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    OutputFolder(out, {"size": (3, 4), "count": 1}, free=("count",)).release()
    (out / "picture.png").touch()
    OutputFolder(out, {"size": [3, 4], "count": 2}, free=("count",)).release()
    kept = json.loads((out / "options.json").read_text())
    assert {name: kept[name] for name in ("size", "count")} == {"size": [3, 4], "count": 2}
    for _ in range(2):  # a refused folder is not left locked
        with pytest.raises(UnblurError, match=r"made with another size \(\[3, 4\]\); use the same as then"):
            OutputFolder(out, {"size": [3, 5], "count": 2}, free=("count",))
    assert json.loads((out / "options.json").read_text()) == kept
    (out / "options.json").write_text("[]")
    with pytest.raises(UnblurError, match="cannot be read"):
        OutputFolder(out, {"size": [3, 4]})


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    OutputFolder(tmp_path).release()
    (tmp_path / "landmarks").mkdir()
    OutputFolder(tmp_path, beside=("landmarks",)).release()
    with pytest.raises(UnblurError, match=r"holds something else \(landmarks\)"):
        OutputFolder(tmp_path, {"size": 3})
    (tmp_path / "data.mdb").touch()
    OutputFolder(tmp_path, marks=("data.mdb",)).release()
    with pytest.raises(UnblurError, match="is a file, not a folder"):
        OutputFolder(tmp_path / "data.mdb")
    with pytest.raises(UnblurError, match="cannot be written"):
        OutputFolder(tmp_path / "data.mdb" / "below")
