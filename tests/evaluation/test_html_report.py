from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from unblur.errors import UnblurError
from unblur.evaluation.html_report import Page, Section, Strip, check_page, escaped, write_page
from unblur.table import Table

EVIL = '<img src=x onerror="a()">|`b`&*c*'


class Reader(HTMLParser):
    """What is in a page; every element that is opened must be closed."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.text, self.tags = [], [], [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page():
    pictures = [np.full((6, 8, 3), (200, 100, level), np.uint8) for level in (0, 255)]
    table = Table(("of", "PSNR"), [[EVIL, "30.00"], ["b", "31.00"]], [True, False], "a title")
    sections = [Section(EVIL, [EVIL], [table]), Section("pictures", strips=[Strip(pictures, EVIL, EVIL)])]
    return Page(EVIL, [EVIL], sections)


def test_a_folder_of_html_markdown_and_pictures(tmp_path):
    html, markdown = write_page(page(), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pictures", "report.html", "report.md"]
    read = Reader(html.read_text(encoding="utf-8"))
    assert [image["src"] for image in read.images] == ["pictures/01.png"]
    assert "onerror" not in read.images[0]
    assert read.images[0]["alt"] == EVIL
    assert "".join(read.text).count(EVIL) == 8
    strip = cv2.imread(str(html.parent / "pictures" / "01.png"))[..., ::-1]
    assert strip.shape == (6, 20, 3)
    assert strip[0, [0, 9, 19]].tolist() == [[200, 100, 0], [255, 255, 255], [200, 100, 255]]
    text = markdown.read_text(encoding="utf-8")
    assert "![" in text
    assert "](pictures/01.png)" in text
    assert "<img" not in text.replace("\\<img", "")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {3}
    assert write_page(page(), tmp_path / "out") == [html, markdown], "it is replaced"


def test_a_single_file_holds_its_pictures(tmp_path):
    (path,) = write_page(page(), tmp_path / "one.html")
    text = path.read_text(encoding="utf-8")
    read = Reader(text)
    assert read.images[0]["src"].startswith("data:image/png;base64,")
    assert list(tmp_path.iterdir()) == [path]
    assert "http" not in text
    assert not read.tags & {"script", "link", "iframe"}


def test_a_report_takes_no_file_for_a_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UnblurError, match=r"notes\.txt: is a file; name a folder"):
        write_page(page(), tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_places_where_no_report_can_be(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    said = {
        "folder.html": "is a folder; name a folder, or a file",
        "notes.txt/report": r"cannot be written: .*notes\.txt is no folder that can be written to",
        "notes.txt/a/b.html": r"cannot be written",
        "a" * 300: r"cannot be written \(File name too long\)",
    }
    for name, problem in said.items():
        with pytest.raises(UnblurError, match=problem):
            check_page(tmp_path / name)
    for name in ("new/deep", "new/deep/one.html", "one.HTM", "."):
        check_page(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "notes.txt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a", "\\- a"), ("12. a", "12\\. a"), ("---", "\\---"), ("30.25", "30.25"), ("-1", "-1"), ("a - b", "a - b")],
)
def test_paragraphs_stay_paragraphs(text, expected):
    assert escaped(text) == expected


def test_names_with_halves_of_characters_are_written(tmp_path):
    (path,) = write_page(Page("a\ud800b", ["text"], []), tmp_path / "one.html")
    assert "<h1>a?b</h1>" in path.read_text(encoding="utf-8")
