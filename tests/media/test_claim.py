from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unblur.errors import UnblurError
from unblur.media import claim as module
from unblur.media.claim import Claim


def test_one_at_a_time(tmp_path: Path) -> None:
    first = Claim(tmp_path)
    with pytest.raises(UnblurError, match="is being written by another run"):
        Claim(tmp_path)
    first.release()
    second = Claim(tmp_path)
    del second  # forgotten
    Claim(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_claims_nothing(tmp_path: Path) -> None:
    program = "import sys; from unblur.media.claim import Claim; c = Claim(sys.argv[1]); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UnblurError):
        Claim(tmp_path)
    process.kill()
    process.communicate()
    Claim(tmp_path).release()


def test_where_there_is_no_such_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Claim(tmp_path / "none").release()
    monkeypatch.setattr(module, "fcntl", None)
    claims = [Claim(tmp_path), Claim(tmp_path)]
    for claim in claims:
        claim.release()
