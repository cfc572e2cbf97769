"""What a trigger does whose table the release has made: nobody uses that table yet, but whoever writes to it fires the trigger."""

from collections.abc import Callable, Sequence

from bleen.database.rules.findings import Known
from bleen.database.rules.sentences import Fault, unknown_call
from bleen.database.tokens import Cursor, Puzzled, Token, words

_MODIFIERS = words("OR ROLLBACK ABORT FAIL IGNORE REPLACE LOW_PRIORITY DELAYED HIGH_PRIORITY QUICK")
_BEHIND = {"INTO": words("( VALUES VALUE DEFAULT SET"), "UPDATE": words("SET"), "FROM": words("WHERE ; END")}
_ELSEWHERE = words("SELECT FROM JOIN TABLE WITH CALL EXECUTE PREPARE")


def created(body: Sequence[Token], table: tuple[str, ...], known: Known, made: Callable[[tuple[Token, ...]], bool]) -> None:
    """Remembers a trigger of a ``table`` that the release has made; ``made`` says whether that is so of another one."""
    known.learns("fires", *table)
    if not _stays(body, made):
        for fires in known.facts("fires"):  # one that writes to this table fires this trigger
            known.learns("acts", *fires)
        known.uses()


def fired(at: Token, table: str, key: tuple[str, ...], known: Known) -> Fault | None:
    """What is wrong with writing to a table: a trigger of the release that may go on to tables that are in use."""
    if not known.knows("acts", *key):
        return None
    return Fault(at, "trigger", f"a trigger that this release has put on {table} runs with it, and may reach tables that are in use; write the rows before")


def _stays(body: Sequence[Token], made: Callable[[tuple[Token, ...]], bool]) -> bool:
    """Whether a body plainly writes to no tables but those, and reads none."""
    cursor = Cursor(tuple(body), "")
    rest: list[Token] = []
    try:
        while not cursor.done:
            token = cursor.ahead()
            begins = cursor.ahead(-1).word if cursor.at else ""
            cursor.at += 1
            if token.word == "SELECT" and cursor.accept("RAISE"):
                continue
            if token.word in ("INSERT", "DELETE") or (token.word == "REPLACE" and not cursor.sees("(")):
                while cursor.accept_one(_MODIFIERS):
                    pass
                token = cursor.kind("word")
                begins = "DELETE"
            if token.word == "INTO" or (token.word == "FROM" and begins == "DELETE") or (token.word == "UPDATE" and begins not in ("KEY", "DO")):
                while cursor.accept_one(_MODIFIERS):
                    pass
                if not made(cursor.table()) or not (cursor.done or cursor.now.word in _BEHIND[token.word]):
                    return False
                if cursor.sees("("):
                    rest += cursor.group()
            elif token.word in _ELSEWHERE or begins == "DELETE":
                return False
            else:
                rest.append(token)
    except Puzzled:
        return False
    return unknown_call(rest) is None
