"""What names and tables mean, whoever wrote them."""

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.transfer import names, tables


@pytest.mark.parametrize(
    ("name", "person", "code"),
    [
        ("Ada/a.jpg", "Ada", None),
        ("Ada\\a.jpg", "Ada", None),
        ("./Ada//a.jpg", "Ada", None),
        (" Ada /a.jpg", "Ada", None),
        (unicodedata.normalize("NFD", "Zoë/a.jpg"), "Zoë", None),
        ("a.jpg", None, "no_person_folder"),
        ("x/Ada/a.jpg", None, "nested_folder"),
        ("../Ada/a.jpg", None, "unsafe_path"),
        ("Ada/..", None, "unsafe_path"),
        ("..\\..\\a.jpg", None, "unsafe_path"),
        ("/etc/passwd", None, "unsafe_path"),
        ("\\\\host\\share\\a.jpg", None, "unsafe_path"),
        ("C:\\Ada\\a.jpg", None, "unsafe_path"),
        ("c:/Ada/a.jpg", None, "unsafe_path"),
        ("Ada/a\0.jpg", None, "unsafe_path"),
        ("Ada/a\n.jpg", None, "unsafe_path"),
        ("Ada/" + "x" * 2000, None, "name_too_long"),
        ("A" * 201 + "/a.jpg", None, "name_too_long"),
        ("__MACOSX/Ada/a.jpg", None, "junk"),
        ("Ada/._a.jpg", None, "junk"),
        ("Ada/.DS_Store", None, "junk"),
        ("Ada/THUMBS.DB", None, "junk"),
        ("Ada/desktop.ini", None, "junk"),
    ],
)
def test_a_name_is_a_person_or_has_a_reason(name: str, person: str | None, code: str | None) -> None:
    found = names.parse_name(name)
    assert (found.person, found.problem and found.problem[1]) == (person, code)


@given(st.text(max_size=60))
def test_whatever_a_name_is_it_has_one_meaning_that_can_be_stored(name: str) -> None:
    found = names.parse_name(name)
    assert sum(each is not None for each in (found.person, found.table, found.problem)) == 1
    assert "\0" not in found.path
    assert found.problem is not None or ".." not in found.path.split("/")


@pytest.mark.parametrize("start", ["\0", "\n", "\x1b[2J"])
def test_a_name_that_is_too_long_is_told_without_what_no_database_takes(start: str) -> None:
    found = names.parse_name(start + "a" * 2000)
    assert found.problem is not None
    assert found.problem[1] == "name_too_long"
    assert found.path.isprintable()


def test_tables_stand_at_the_root_only() -> None:
    assert names.parse_name("People.CSV").table == "people.csv"
    assert names.parse_name("x/people.csv").person == "x"
    assert names.parse_name("x/people.csv", root="x").table == "people.csv"


@pytest.mark.parametrize("root", ["../x", "C:/x", "a/../b", "a\0b"])
def test_a_root_never_leads_out(root: str) -> None:
    with pytest.raises(ValueError, match="root"):
        names.parse_root(root)


def people(text: str) -> list[tables.PersonRow]:
    return list(tables.read_people(io.BytesIO(text.encode())))


def test_a_line_says_who_and_a_bad_one_why_not() -> None:
    rows = people(
        "\ufeffname,external_id,metadata,hidden,keep_until,id\r\n"
        'Ada,E-1,"{""a"": [1]}",yes,2030-01-31,\r\n'
        "\r\n"
        ",E-2,,,,\r\n"
        "Bea,,{,,,\r\n"
        'Bea,,{"a": NaN},,,\r\n'
        "Bea,,,perhaps,,\r\n"
        "Bea,,,,tomorrow,\r\n"
        "Bea,,,,,not-a-uuid\r\n" + "B" * 201 + ",,,,,\r\n"
    )
    assert (rows[0].name, rows[0].folder, rows[0].alias, rows[0].values["metadata"]) == (
        "Ada",
        "E-1",
        "Ada",
        {"a": [1]},
    )
    assert (rows[0].values["hidden"], rows[0].values["keep_until"]) == (True, "2030-01-31")
    assert [bool(row.problem) for row in rows] == [False] + [True] * 7
    assert "Line 4" in rows[1].problem


def test_portraits_are_believed_only_as_far_as_they_make_sense() -> None:
    sha = "a" * 64
    text = (
        "file,file_sha256,sha256,box,landmarks\n"
        f"x/a.jpg,{sha},{sha},1 2 3 4,\n"
        f"x/b.jpg,{sha},{sha},1 2 3 nan,\n"
        f"x/c.jpg,{sha},{sha},1 2 -3 4,\n"
        f"x/d.jpg,{sha},short,1 2 3 4,\n"
        f"x/e.jpg,{sha},{sha},1 2 3 4,1 2 3\n"
        f"x/f.jpg,{sha},{sha},1 2 3 4,1 2 3 4 5 6 7 8 9 10\n"
    )
    rows = list(tables.read_portraits(io.BytesIO(text.encode())))
    assert [row.file for row in rows] == ["x/a.jpg", "x/f.jpg"]
    assert rows[1].landmarks == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))


@pytest.mark.parametrize(
    "metadata",
    [
        '{"x": "\\ud800"}',
        '{"x": 1e999}',
        '{"x": -Infinity}',
        '{"x": "\\u0000"}',
        '{"x": "' + "y" * 70_000 + '"}',
        "[1]",
    ],
)
def test_metadata_that_postgres_or_the_api_refuse_is_that_lines_fault(metadata: str) -> None:
    rows = people('name,metadata\nAda,"' + metadata.replace('"', '""') + '"\nBea,\n')
    assert "metadata" in rows[0].problem
    assert (rows[1].name, rows[1].problem) == ("Bea", "")


def test_a_portrait_whose_file_has_a_nul_is_left_out() -> None:
    sha = "a" * 64
    text = f"file,file_sha256,sha256,box\nx/a\0.jpg,{sha},{sha},1 2 3 4\nx/b.jpg,{sha},{sha},1 2 3 4\n"
    assert [row.file for row in tables.read_portraits(io.BytesIO(text.encode()))] == ["x/b.jpg"]


class Endless(io.RawIOBase):
    """A header, then one thing again and again; how much of it was read."""

    def __init__(self, part: bytes) -> None:
        self._part, self._next, self.given = part, b"name\n", 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        part, self._next = (self._next or self._part * 1000)[: len(into)], b""
        into[: len(part)] = part
        self.given += len(part)
        return len(part)


@pytest.mark.parametrize("part", [b",", "🙂".encode()], ids=["cells", "one cell"])
def test_a_row_without_an_end_is_read_no_further_than_a_row_may_be(part: bytes) -> None:
    file = Endless(part)
    with pytest.raises(tables.TableError, match="row of more than"):
        list(tables.read_people(io.BufferedReader(file)))
    assert file.given < 8 * tables.MAX_ROW_CHARS


def test_empty_lines_without_an_end_are_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINES", 5000)
    with pytest.raises(tables.TableError, match="more than 5000 lines"):
        list(tables.read_people(io.BufferedReader(Endless(b"\n"))))


def test_a_long_note_on_consent_costs_its_own_line_at_most() -> None:
    rows = people(f"name,consent\nAda,{'x' * 140_000}\nBea,{'x' * 100_000}\n")
    assert "consent" in rows[0].problem
    assert len(rows[1].values["consent"]) == 100_000


@given(st.text(max_size=20))
def test_a_guarded_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    assert not tables.guarded(text).startswith(tables.FORMULA)
    assert tables.unguarded(tables.guarded(text)) == text


@pytest.mark.parametrize("text", ["=1+1", "'=1", "''-2", "\r", "'", "'a", "-5"])
def test_a_guarded_formula_comes_back_as_it_was(text: str) -> None:
    assert not tables.guarded(text).startswith(tables.FORMULA)
    assert tables.unguarded(tables.guarded(text)) == text


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_no_table(data: bytes) -> None:
    for read in (tables.read_people, tables.read_portraits):
        try:
            list(read(io.BytesIO(data)))  # type: ignore[operator]
        except tables.TableError:
            continue
