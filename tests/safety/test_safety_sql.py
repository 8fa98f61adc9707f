"""Statements that only read, take no table and still would hold the machine up: in one step, or before the first."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.safety import plain
from retainer.safety.sqlsize import MAX_WORDS, too_many_words

SECONDS = 0.2
LONG = """WITH RECURSIVE
    long(h) AS MATERIALIZED (SELECT printf('%.*c', 249900, 'a')),
    half(n) AS MATERIALIZED (SELECT printf('%.*c', 124900, 'a') || 'b'),
    some(s) AS MATERIALIZED (SELECT printf('%.*c', 390, 'a') || 'b'),
    letters(c) AS MATERIALIZED (SELECT printf('%.*c', 390, 'b') || 'a'),
    pattern(p) AS MATERIALIZED (SELECT '%' || printf('%.*c', 90, 'a') || 'b'),
    number(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM number LIMIT 1000)
    SELECT """


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE page (id INTEGER, text TEXT); CREATE INDEX by_text ON page (replace(text, ' ', ''));"
        "INSERT INTO page VALUES (1, 'a fox'), (2, 'A Dog');"
        "CREATE VIEW fox AS SELECT id FROM page WHERE text LIKE '%FOX%' AND instr(text, 'fox') > 0;"
    )
    connection.close()
    return path


def _sum(part: str, times: int) -> str:
    return "+".join([part] * times)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT instr(printf('%.*c', 249900, 'a'), printf('%.*c', 124900, 'a') || 'b')",
        "SELECT length(replace(printf('%.*c', 249900, 'a'), printf('%.*c', 124900, 'a') || 'b', 'x'))",
        "SELECT length(trim(printf('%.*c', 124900, 'a'), printf('%.*c', 124900, 'b') || 'a'))",
        f"{LONG} {_sum('instr(h, n)', 700)} FROM long, half",
        f"{LONG} {_sum('instr(h, s)', 700)} FROM long, some",
        f"{LONG} {_sum('length(trim(h, c))', 300)} FROM long, letters",
        f"{LONG} {_sum('(h LIKE p)', 700)} FROM long, pattern",
        f"{LONG} {_sum('(h GLOB p)', 700)} FROM long, (SELECT replace(p, '%', '*') AS p FROM pattern)",
        f"{LONG} sum(h || x LIKE p) FROM long, pattern, number",
        f"{LONG} sum(instr(h || x, s)) FROM long, some, number",
        f"{LONG} sum(length(upper(h || x))) FROM long, number",
    ],
    ids=lambda text: text[-50:],
)
def test_a_statement_of_long_steps_ends_in_its_time(database: Path, statement: str) -> None:
    """SQLite looks at the clock between steps; a step of seconds, or hundreds in one line, would go unseen."""
    began = time.process_time()
    with pytest.raises(RefusedError, match=r"too long|too much text"):
        plain.read_sql(database, statement, seconds=SECONDS)
    assert time.process_time() - began < SECONDS + 1.5


def doubling(levels: int, body: str, name: str = "a{}") -> str:
    """Each expression names the one before it twice."""
    names = [name.format(level) for level in range(levels + 1)]
    parts = [f"{names[0]} AS (SELECT 1 AS x)"]
    parts += [f"{new} AS ({body.format(old)})" for old, new in pairwise(names)]
    return f"WITH {', '.join(parts)} SELECT count(*) FROM {names[-1]}"


BODIES = (
    "SELECT x FROM {0} UNION ALL SELECT x FROM {0}",
    "SELECT (SELECT x FROM {0}) + (SELECT x FROM {0}) AS x",
    "SELECT l.x FROM {0} l, {0} r",
)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", ["a{}", '"a {}"', "[a({}]", "`a{}`"])
def test_a_statement_that_doubles_itself_is_not_even_compiled(database: Path, body: str, name: str) -> None:
    """With 17 levels it took half a gigabyte and some seconds before anything could stop it; with 22, the machine."""
    assert plain.read_sql(database, doubling(3, body, name))
    began = time.process_time()
    with pytest.raises(RefusedError, match="repeats itself"):
        plain.read_sql(database, doubling(17, body, name))
    with pytest.raises(RefusedError, match="repeats itself"):
        plain.read_sql(database, doubling(150, body, name)[:10_000])
    connection = sqlite3.connect(database)
    with pytest.raises(RefusedError, match="repeats itself"):
        plain.check_sql(connection, doubling(17, body, name))
    connection.close()
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("before", "after"),
    [(" AS (", "/* a */AS--(\n("), (" AS (", " as not materialized("), (" AS (", "(x) AS MATERIALIZED (")],
)
def test_no_way_of_writing_hides_the_doubling(before: str, after: str) -> None:
    assert too_many_words(doubling(17, BODIES[0]).replace(before, after))
    assert not too_many_words(doubling(5, BODIES[0]).replace(before, after))


def test_the_doubling_shows_inside_an_expression_and_under_a_name_used_twice() -> None:
    inner = doubling(17, BODIES[0]).replace("count(*)", "count(*) AS x")
    assert too_many_words(f"WITH outside AS ({inner}) SELECT x FROM outside")
    assert too_many_words(f"SELECT (WITH a16 AS (SELECT 1 AS x) SELECT x FROM a16), ({inner})")
    circle = "WITH a AS (SELECT x FROM b), b AS (SELECT x FROM a) SELECT x FROM a"
    assert too_many_words(circle), "names in a circle have no size"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT " + ", ".join(["1"] * 3_000),
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE n.x < 9) SELECT n.x FROM n",
        "WITH " + ", ".join(f"s{n} AS (SELECT x FROM s{n - 1})" for n in range(1, 60)) + " SELECT x FROM s59",
        "WITH a AS (SELECT 1 AS x) SELECT a.x FROM a JOIN a AS b ON a.x = b.x WHERE a.x IN (SELECT x FROM a)",
        "SELECT sum(x) OVER w FROM t WINDOW w AS (ORDER BY x)",
        ") AS ( 'open",
    ],
    ids=lambda text: text[:30],
)
def test_an_ordinary_statement_is_not_too_large(statement: str) -> None:
    assert MAX_WORDS > 10_000
    assert not too_many_words(statement)


@pytest.mark.parametrize(
    "call",
    [
        "printf('%.*c', 900000000, 'x')",
        "format('%*d', '900000000', 1)",
        "printf('%900000000d', 1)",
        "printf('%-0200000d%+200000s', 1, 2)",
        "printf('%.' || '900000000' || 'c', 'x')",
        "printf('%.*c', -900000000, 'x')",
        "printf('%.*c', 9e8, 'x')",
        "printf('%.*c', 9e20, 'x')",
        "printf('%.*c', ' 9.1e8 and more', 'x')",
        "printf('%.*c', printf('%500s', '') || '900000000', 'x')",
        "printf('%.*c', printf('%0500d', 0) || '900000000', 'x')",
        "printf('%.' || printf('%050d', 0) || '900000000' || 'c', 'x')",
        "printf('%.*c', x'393030303030303030', 'x')",
    ],
)
def test_a_place_that_is_filled_without_end_is_refused(database: Path, call: str) -> None:
    began = time.process_time()
    with pytest.raises(RefusedError, match="would fill more than"):
        plain.read_sql(database, f"SELECT {call}", seconds=SECONDS)
    assert time.process_time() - began < 1.0


def test_measured_functions_answer_as_sqlite_does(database: Path) -> None:
    parts = (
        "instr('abcb', 'b')", "instr(NULL, 1)", "instr(1234, 3)", "instr(x'0102', x'02')", "instr('añb', 'b')",
        "printf('%5.2f|%-8s|%,d', 3.14159, 'ab', 1234567)",
        "printf('%2d:%2d:%2d:%2d:%2d:%2d:%2d', 1, 2, 3, 4, 5, 6, 7)", "format('%s %%', 'a')", "printf('%*d', 6, 42)",
        "replace('aXa', 'X', 1)", "replace('a', '', 'b')", "trim('xxaxx', 'x')", "ltrim('  a ')", "rtrim('ab', 'b')",
    )  # fmt: skip
    patterns = (
        "'a' LIKE 'A'",
        "'a_' LIKE 'a\\_' ESCAPE '\\'",
        "'ab' LIKE 'a\\_' ESCAPE '\\'",
        "NULL LIKE 'a'",
        "'ab' GLOB 'A*'",
    )
    for wanted in (parts, patterns * 4):
        columns = ", ".join(f"{part} AS c{n}" for n, part in enumerate(wanted))
        plainly = sqlite3.connect(":memory:")
        (row,) = plain.read_sql(database, f"SELECT {columns}")
        assert tuple(row.values()) == plainly.execute(f"SELECT {columns}").fetchone()
        plainly.close()


def test_views_and_indexes_that_use_such_functions_are_read_as_before(database: Path) -> None:
    assert plain.read_sql(database, "SELECT id FROM fox") == [{"id": 1}]
    assert plain.read_sql(database, "SELECT id FROM fox WHERE id LIKE '1%'") == [{"id": 1}]
    assert plain.read_sql(database, "SELECT id FROM page WHERE replace(text, ' ', '') = 'ADog'") == [{"id": 2}]


def test_a_pattern_that_is_too_long_is_named(database: Path) -> None:
    many = "SELECT " + " OR ".join(["'a' LIKE ?"] * 11)
    for statement, count in (("SELECT 'a' LIKE ?", 1), (many, 11)):
        with pytest.raises(RefusedError, match="pattern too complex"):
            plain.read_sql(database, statement, ["a" * 101] * count)


@pytest.mark.parametrize(
    "params",
    [
        (),
        (1, 2),
        ({"a": 1},),
        ([1],),
        (Ellipsis,),
        (2**63,),
        (-(2**70),),
        ("half \ud800",),
        "1",
        b"1",
        {"a": 1},
        {1},
        1,
        None,
    ],
    ids=ascii,
)
def test_values_that_do_not_fit_are_named_as_such(database: Path, params: Any) -> None:
    with pytest.raises(InvalidInputError, match="values") as caught:
        plain.read_sql(database, "SELECT text FROM page WHERE id = ?", params)
    assert "None for each '?'" in caught.value.hint


def test_texts_numbers_bytes_and_nothing_are_values(database: Path) -> None:
    for value in ("a", 2**63 - 1, 0.5, b"\x00", None):
        assert plain.read_sql(database, "SELECT ? AS x", [value]) == [{"x": value}]


@pytest.mark.parametrize("name", ["none.db", "none/data.db", "data.db/more"])
def test_a_missing_database_is_said_to_be_missing_and_not_begun(database: Path, name: str) -> None:
    before = sorted(database.parent.rglob("*"))
    with pytest.raises(NotFoundError, match="There is no database"):
        plain.read_sql(database.parent / name, "SELECT 1")
    assert sorted(database.parent.rglob("*")) == before


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Ann, " * 100)
    with pytest.raises(InvalidInputError, match=r"letter\.txt' is no database"):
        plain.read_sql(letter, "SELECT 1")
    for name in ("half \ud800", "a\x00b"):
        with pytest.raises(InvalidInputError, match="not the path of a file"):
            plain.read_sql(tmp_path / name, "SELECT 1")
    with pytest.raises(RefusedError, match="File name too long"):
        plain.read_sql(tmp_path / ("x" * 300), "SELECT 1")


def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 200] * 4)
    deep.mkdir(parents=True)
    (deep / "data.db").touch()
    with pytest.raises(RefusedError, match="cannot be read now"):
        plain.read_sql(deep / "data.db", "SELECT 1")


def test_a_locked_database_is_waited_for_no_longer_than_the_statement_may_take(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(RefusedError, match="locked"):
        plain.read_sql(database, "SELECT 1", seconds=0.1)
    connection.close()
    assert time.monotonic() - began < 2


def test_folders_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(RefusedError, match="not a plain file"):
            plain.read_sql(path, "SELECT 1")


@pytest.mark.parametrize("name", ["a?mode=rwc", "a#b", "a%2e", "a b&c", "ä:;=", "\udcff"], ids=ascii)
def test_any_name_of_a_file_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect(tmp_path / name)
    connection.executescript("CREATE TABLE page (id INTEGER); INSERT INTO page VALUES (7)")
    connection.close()
    for path in (tmp_path / name, Path(name)):
        assert plain.read_sql(path, "SELECT id FROM page") == [{"id": 7}]
    assert os.listdir(tmp_path) == [name]


@pytest.fixture
def several() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "ATTACH ':memory:' AS other; ATTACH ':memory:' AS 'odd \"name';"
        "CREATE TABLE notes (id, text); CREATE TABLE both (id); CREATE VIEW seen AS SELECT id FROM notes;"
        "CREATE TABLE other.notes (id, text); CREATE TABLE other.alone (id); CREATE TEMP TABLE both (id);"
        "CREATE TEMP VIEW glimpse AS SELECT id FROM other.notes;"
    )
    yield connection
    connection.close()


TABLES = {"notes", "both", "seen", "alone", "glimpse"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM other.notes",
        "SELECT count(*) FROM other.notes",
        "SELECT id FROM notes WHERE id IN (SELECT id FROM other.notes)",
        "SELECT id FROM alone",
        "SELECT count(*) FROM alone",
        "SELECT count(*) FROM Alone AS notes",
        "SELECT id FROM both",
        "SELECT count(*) FROM both",
        "SELECT id FROM temp.both",
        "SELECT count(*) FROM glimpse",
        "WITH notes AS (SELECT id FROM other.notes) SELECT id FROM notes",
    ],
)
@pytest.mark.parametrize("tables", [TABLES, None])
def test_a_listed_name_is_a_table_of_the_main_database_only(
    several: sqlite3.Connection, statement: str, tables: set[str] | None
) -> None:
    with pytest.raises(RefusedError, match="is not in the main database"):
        plain.check_sql(several, statement, tables=tables)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT text FROM notes",
        "SELECT count(*) FROM notes",
        "SELECT count(*) FROM MAIN.Notes",
        "SELECT id FROM main.both",
        "SELECT count(*) FROM main.both",
        "SELECT count(*), max(id) FROM seen",
        "WITH found AS (SELECT id FROM notes) SELECT count(*) FROM found",
        "SELECT upper('a')",
    ],
)
def test_the_main_database_is_read_beside_others(several: sqlite3.Connection, statement: str) -> None:
    several.row_factory = lambda _cursor, row: {"row": row}
    several.text_factory = bytes
    plain.check_sql(several, statement, tables=TABLES)
    assert several.execute("SELECT 'a'").fetchone() == {"row": (b"a",)}, "the connection is as it was"
