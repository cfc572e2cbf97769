"""The tokens of MySQL's (MariaDB's) and SQLite's SQL, and a file of it as statements.

Own code, because no parser at hand says of each token where it stands, and sqlglot answers with an opaque Command to what it does not know.
Sources: MySQL Reference Manual, "Language Structure"; SQLite, ``tokenize.c`` and ``complete.c``. MySQL's is read as it is without ANSI_QUOTES and
NO_BACKSLASH_ESCAPES in ``sql_mode``: whoever runs the statements has to take both out.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from bleen.database.statements import Comment, Dialect, Statement, Unreadable, place

Kind = Literal["word", "name", "string", "number", "parameter", "sign", "comment", "executable", "end"]
"""``name`` is a quoted identifier; ``executable`` a comment whose content MySQL or MariaDB carries out (``/*! */``, ``/*M! */``) or obeys (``/*+ */``)."""


class Token(NamedTuple):
    """One token, as it is written, and where: in characters from the beginning of what was read."""

    kind: Kind
    text: str
    offset: int

    @property
    def end(self) -> int:
        return self.offset + len(self.text)

    @property
    def word(self) -> str:
        """In upper case if it is a bare word or a sign, which is what can be a keyword; else empty."""
        return self.text.upper() if self.kind in ("word", "sign") else ""

    @property
    def identifier(self) -> str:
        """The name that a word or a quoted name spells."""
        if self.kind == "word":
            return self.text
        last = self.text[-1]
        return self.text[1:-1].replace(last * 2, last) if last != "]" else self.text[1:-1]


class Sentence(NamedTuple):
    """A statement and its tokens, without comments; their offsets are those of the file."""

    statement: Statement
    tokens: tuple[Token, ...]


class Script(NamedTuple):
    """What a file consists of."""

    sentences: list[Sentence]
    comments: list[Token]


def read(text: str, dialect: Dialect) -> Script:
    """The statements and the comments of a file of MySQL or SQLite.

    A body (of a trigger, procedure, function or event) belongs to its statement, with DELIMITER lines or without; these lines themselves, a command of
    MySQL's client, are in no statement. Raises Unreadable for what does not end: a string, a quoted name, a comment, a body.
    """
    sentences: list[Sentence] = []
    comments: list[Token] = []
    scanner = _Scanner(text, dialect)
    gathered: list[Token] = []
    body = _body(dialect)

    def close() -> None:
        nonlocal gathered, body
        if gathered:
            begin, end = gathered[0].offset, gathered[-1].end
            sentences.append(Sentence(Statement(text[begin:end], place(text, begin), begin), tuple(gathered)))
        gathered, body = [], _body(dialect)

    for token in scanner:
        if token.kind == "comment":
            comments.append(token)
        elif token.kind == "end" or (token.text == ";" and scanner.delimiter == ";" and not body.holds):
            close()
        else:
            if not gathered and dialect == "mysql" and token.word == "DELIMITER":
                scanner.new_delimiter(token)
                continue
            gathered.append(token)
            if scanner.delimiter == ";":
                body.see(token, text)
    if body.holds:
        raise Unreadable(f"the body of this {gathered[0].word} statement has no end", place(text, gathered[0].offset))
    close()
    return Script(sentences, comments)


def split(text: str, dialect: Dialect) -> list[Statement]:
    """The statements of a file of MySQL or SQLite; as ``read``."""
    return [sentence.statement for sentence in read(text, dialect).sentences]


def words(text: str) -> frozenset[str]:
    """The words of a list that is written with spaces."""
    return frozenset(text.split())


def comments(text: str, dialect: Dialect) -> list[Comment]:
    """The comments of a file of MySQL or SQLite, without those that a server carries out; as ``read``."""
    found = []
    for token in read(text, dialect).comments:
        marks = {"--": (2, 0), "/*": (2, 2)}.get(token.text[:2], (1, 0))
        found.append(Comment(token.text[marks[0] : len(token.text) - marks[1]].strip(), token.offset, token.end))
    return found


_LETTER = r"[A-Za-z0-9_$\u0080-\U0010ffff]"
_NUMBER = rf"(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?!{_LETTER})"
_WORD = rf"{_LETTER}+"
_SPACE = {"mysql": " \t\n\v\f\r", "sqlite": " \t\n\f\r"}
_COMMENT = {"mysql": re.compile(r"(?:--(?=[\x00-\x20\x7f]|\Z)|#)[^\n]*"), "sqlite": re.compile(r"--[^\n]*")}
_QUOTES = {
    "mysql": {"'": "string", '"': "string", "`": "name"},
    "sqlite": {"'": "string", '"': "name", "`": "name", "[": "name"},
}
_QUOTED = {
    "'": re.compile(r"'(?:[^'\\]++|''|\\.)*+'", re.DOTALL),
    '"': re.compile(r'"(?:[^"\\]++|""|\\.)*+"', re.DOTALL),
    "`": re.compile(r"`(?:[^`]++|``)*+`"),
    "[": re.compile(r"\[[^\]]*\]"),
}
_PLAIN = {"'": re.compile(r"'(?:[^']++|'')*+'"), '"': re.compile(r'"(?:[^"]++|"")*+"'), "`": _QUOTED["`"], "[": _QUOTED["["]}
_DELIMITER = re.compile(r"""[^\S\n]+([^\s\w'"`\\]+)[^\S\n]*(?=\n|\Z)""")


class _Scanner:
    """Tokens from left to right; ``end`` is a delimiter that is not the semicolon."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self.text, self.dialect = text, dialect
        self.delimiter = ";"
        self.at = 0
        self.number, self.wording = re.compile(_NUMBER), re.compile(_WORD)
        self.quoted = _QUOTED if dialect == "mysql" else _PLAIN

    def __iter__(self) -> Iterator[Token]:
        while (token := self.next()) is not None:
            self.at = token.end
            yield token

    def new_delimiter(self, word: Token) -> None:
        """Obeys the line that begins with the word DELIMITER."""
        found = _DELIMITER.match(self.text, word.end)
        if found is None or "--" in found[1] or "/*" in found[1]:
            raise Unreadable("DELIMITER is followed by one delimiter made of signs such as // or ## and the end of its line", place(self.text, word.offset))
        self.delimiter = found[1]
        self.at = found.end()

    def next(self) -> Token | None:
        text = self.text
        while self.at < len(text) and text[self.at] in _SPACE[self.dialect]:
            self.at += 1
        at = self.at
        if at == len(text):
            return None
        if self.delimiter != ";" and text.startswith(self.delimiter, at):
            return Token("end", self.delimiter, at)
        if comment := _COMMENT[self.dialect].match(text, at):
            return Token("comment", comment[0], at)
        if text.startswith("/*", at):
            return self.comment(at)
        kind = _QUOTES[self.dialect].get(text[at])
        if kind is not None:
            found = self.quoted[text[at]].match(text, at)
            if found is None:
                raise Unreadable(f"this {'string' if kind == 'string' else 'quoted name'} has no end", place(text, at))
            return Token("string" if kind == "string" else "name", found[0], at)
        return self.bare(at)

    def bare(self, at: int) -> Token:
        """A number, a word, a parameter or a single sign."""
        text = self.text
        if text[at] == "\0":
            raise Unreadable("a NUL character ends the text for some readers and not for others", place(text, at))
        begin = at + 1 if text[at] in ":@$?" and self.dialect == "sqlite" else at
        found = (self.number.match(text, at) if text[at - 1 : at] != "." else None) or self.wording.match(text, begin)
        if found is None:
            return Token("parameter" if text[at] == "?" else "sign", text[at], at)
        written = text[at : found.end()]
        if self.delimiter != ";" and self.delimiter in written:  # $$ would else be part of a name
            written = written[: written.index(self.delimiter)]
        if begin != at:
            return Token("parameter", written, at)
        return Token("number" if found.re is self.number else "word", written, at)

    def comment(self, at: int) -> Token:
        """A comment between /* and */; in MySQL one that begins with !, M! or + is more than that."""
        text = self.text
        end = text.find("*/", at + 2)
        if end < 0:
            raise Unreadable("this comment has no end", place(text, at))
        written = text[at : end + 2]
        if self.dialect != "mysql" or not written.startswith(("/*!", "/*M!", "/*+")):
            return Token("comment", written, at)
        if not _same_end(written[3:-2]):
            raise Unreadable("where this comment ends depends on the version of the server that reads it", place(text, at))
        return Token("executable", written, at)


def _same_end(inside: str) -> bool:
    """Whether an executable comment ends at the first ``*/`` for a server that skips it and for one that carries it out."""
    try:
        return "/*" not in inside and all(token.kind != "comment" for token in _Scanner(inside, "mysql"))
    except Unreadable:
        return False


def _body(dialect: Dialect) -> "_MysqlBody | _SqliteBody":
    return _MysqlBody() if dialect == "mysql" else _SqliteBody()


class _SqliteBody:
    """Whether a semicolon belongs to a trigger's body, which it does unless END stands between it and another one (as in SQLite's ``complete.c``)."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self.trigger = False
        self.holds = False
        self.after_semicolon = False

    def see(self, token: Token, text: str) -> None:
        if self.trigger:
            self.holds = not (self.after_semicolon and token.word == "END")
            self.after_semicolon = token.text == ";"
        elif len(self.head) < 6:
            self.head.append(token.word)
            words = [word for word in self.head if word not in ("EXPLAIN", "QUERY", "PLAN", "TEMP", "TEMPORARY")]
            self.trigger = self.holds = words == ["CREATE", "TRIGGER"]


_PROGRAMS = words("TRIGGER PROCEDURE FUNCTION EVENT")
_NAMED_AT_END = words("IF LOOP WHILE REPEAT FOR")
_BEFORE_STATEMENT = words("; : BEGIN THEN ELSE DO LOOP REPEAT ATOMIC")
_BEFORE_BODY = _BEFORE_STATEMENT | words(") ROW DATA SQL DETERMINISTIC DEFINER INVOKER")
_BEFORE_NAME = words("TRIGGER PROCEDURE FUNCTION EVENT EXISTS ON FOLLOWS PRECEDES DEFINER . @ =")
_BEFORE_OPERAND = words(
    "WHEN THEN ELSE CASE AND OR NOT XOR DIV MOD LIKE IN IS BETWEEN BY AS SELECT WHERE RETURN INTERVAL HANDLER FOR . , ( = < > + - * / % | & ! ^ ~ @"
)
_NOTHING = Token("sign", ";", 0)


class _MysqlBody:
    """Which blocks are open in a stored program that is written without DELIMITER (MySQL manual, "Compound Statement Syntax").

    A word opens a block where a statement may begin, and CASE an expression wherever an operand may stand; END closes the innermost of them.
    """

    def __init__(self) -> None:
        self.head: list[str] = []
        self.program = False
        self.begun = False
        """The body has: what follows the head of the program."""
        self.handler = False
        self.open: list[str] = []
        self.closed = ""
        self.depth = 0
        self.last = (_NOTHING, _NOTHING)

    @property
    def holds(self) -> bool:
        return bool(self.open)

    def see(self, token: Token, text: str) -> None:
        if self.program:
            self.follow(token, text)
        else:
            self.head.append(token.word)
            self.program = self.begins_program()
        self.last = (self.last[1], token)

    def begins_program(self) -> bool:
        words = self.head
        if words == ["BEGIN", "NOT"] or (len(words) == 1 and words[0] in _NAMED_AT_END | {"CASE"}):  # MariaDB carries out blocks outside of programs
            self.open, self.begun = [words[0]], True
            return True
        if words[0] not in ("CREATE", "ALTER") or words[-1] not in _PROGRAMS:
            return False
        between = [word for word in words[1:-1] if word not in ("OR", "REPLACE", "AGGREGATE")]
        return "VIEW" not in between and between[:1] in ([], ["DEFINER"])

    def follow(self, token: Token, text: str) -> None:
        word = token.word
        before = self.last[1].word
        if self.closed in _NAMED_AT_END and word != self.closed:
            raise Unreadable(f"END {self.closed} is expected here", place(text, self.last[1].offset))
        if self.closed:
            self.closed = ""
            if word in _NAMED_AT_END | {"CASE"}:
                return
        self.depth += {"(": 1, ")": -1}.get(word, 0)
        if word == "END" and self.closes(before):
            self.closed = self.open.pop()
        elif opened := self.opens(word, before):
            self.open.append(opened)
            self.begun, self.handler = True, False
        elif word in (";", "HANDLER"):
            self.handler = word == "HANDLER" and before in ("EXIT", "CONTINUE", "UNDO")

    def closes(self, before: str) -> bool:
        if not self.open:
            return False
        if self.open[-1] == "case":
            return before not in _BEFORE_OPERAND
        return before in (";", "BEGIN", "ATOMIC") or self.open[-1] == "REPEAT"

    def opens(self, word: str, before: str) -> str:
        """What this word opens; empty if nothing. An expression's CASE is in lower case: it ends without its name, and holds no statements."""
        if word not in _NAMED_AT_END | {"CASE", "BEGIN"} or before in (".", "@"):
            return ""
        if self.open[-1:] == ["case"]:
            starts = False
        elif self.begun:
            starts = before in _BEFORE_STATEMENT or (self.handler and before not in _BEFORE_OPERAND)
        elif word == "BEGIN":
            starts = self.depth == 0 and before not in _BEFORE_NAME
        else:
            starts = self.depth == 0 and (before in _BEFORE_BODY or self.last[1].kind == "string" or self.last[0].word in ("FOLLOWS", "PRECEDES"))
        if word == "CASE":
            return "CASE" if starts else "case"
        return word if starts else ""


class Puzzled(Exception):
    """A statement goes on with a token that the grammar at hand does not know."""

    def __init__(self, token: Token) -> None:
        super().__init__(token.text)
        self.token = token


class Cursor:
    """Reads the tokens of one statement from left to right."""

    def __init__(self, tokens: tuple[Token, ...], text: str) -> None:
        self.tokens, self.text = tokens, text
        """``text`` is the file's, as the offsets of tokens are."""
        self.at = 0
        self.last = Token("end", "", tokens[-1].end if tokens else 0)

    def ahead(self, count: int = 0) -> Token:
        """The next token, or one of those behind it; of kind ``end`` behind the last."""
        return self.tokens[self.at + count] if self.at + count < len(self.tokens) else self.last

    @property
    def now(self) -> Token:
        return self.ahead()

    @property
    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def sees(self, *expected: str) -> bool:
        return all(self.ahead(count).word == word for count, word in enumerate(expected))

    def accept(self, *expected: str) -> bool:
        """Takes these words if all of them come next."""
        if not self.sees(*expected):
            return False
        self.at += len(expected)
        return True

    def accept_one(self, among: frozenset[str]) -> str:
        """Takes the next word if it is one of these; else empty."""
        word = self.now.word
        if word not in among:
            return ""
        self.at += 1
        return word

    def expect(self, *expected: str) -> None:
        for word in expected:
            if not self.accept(word):
                raise Puzzled(self.now)

    def kind(self, *kinds: Kind) -> Token:
        """The next token, which has to be of one of these kinds."""
        token = self.now
        if token.kind not in kinds:
            raise Puzzled(token)
        self.at += 1
        return token

    def name(self) -> Token:
        return self.kind("word", "name")

    def table(self) -> tuple[Token, ...]:
        """A name and what qualifies it."""
        names = [self.name()]
        while self.accept("."):
            names.append(self.name())
        return tuple(names)

    def group(self) -> tuple[Token, ...]:
        """What stands in the parentheses that come next."""
        self.expect("(")
        begin, depth = self.at, 1
        while depth:
            if self.done:
                raise Puzzled(self.last)
            depth += {"(": 1, ")": -1}.get(self.now.word, 0)
            self.at += 1
        return self.tokens[begin : self.at - 1]

    def rest(self) -> tuple[Token, ...]:
        """All that is left."""
        begin, self.at = self.at, len(self.tokens)
        return self.tokens[begin:]

    def written(self, begin: int, end: int | None = None) -> str:
        """The text from one token (its number) to another, or to where the cursor stands; the other is not included."""
        taken = self.tokens[begin : self.at if end is None else end]
        return self.text[taken[0].offset : taken[-1].end] if taken else ""
