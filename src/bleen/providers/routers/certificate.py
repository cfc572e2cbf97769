"""The certificate of the production listener: a running proxy is given what becomes of the files that bleen.yaml names, and one that starts the last of it.

Neither proxy notices by itself every way in which a certificate is renewed (written over, renamed, a symbolic link that is led elsewhere). So ``up`` looks
at the files, gives the proxy what is new, and believes it once the listener shows it. ``PLACE/certificate.taken`` says which files the proxy has, by their
paths too: another domain's certificate is no stand-in for this one's. ``PLACE/certificate.pem``, for its owner only, is what it has of them: a renewal that
went wrong must not keep a proxy that has died from coming back.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bleen.errors import Refused, Unavailable
from bleen.host.files import text_of

_SHOWN = 0.1
"""Seconds in which a proxy shows what it was given; it takes milliseconds."""
JUDGED = 120.0
"""Seconds after which a proxy is asked again about files that did not change: it may have failed for another reason than them."""
_SEQUENCE, _UTC_TIME = 0x30, 0x17
"""Tags of DER."""
_BLOCK = r"(?s)-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----"


class Certificate:
    """``tls`` holds the paths ``certificate`` (with its chain) and ``key``, both PEM; ``place`` is the directory of the router.

    ``fault`` is what the proxy finds wrong with a certificate and a key, empty if nothing, where it takes less than OpenSSL does; it may raise Unavailable.
    """

    def __init__(self, place: Path, tls: Mapping[str, str], fault: Callable[[str, str], str] = lambda chain, key: "") -> None:
        self.chain, self.key = (os.path.abspath(tls[name]) for name in ("certificate", "key"))
        self.mark, self.kept = place / "certificate.taken", place / "certificate.pem"
        self._fault, self._judged = fault, ("", "", 0.0)

    @property
    def lasts(self) -> bool:
        """Whether ``kept`` holds something of these files that a proxy could use. A mark that begins with a number was left by a bleen that wrote no paths:
        it is of the files of the router as it is recorded. Beside a link, which such a one led to the files themselves, nothing was kept.
        """
        mark = text_of(self.mark) or ""
        return (mark.startswith(self._paths) or mark[:1].isdecimal()) and self.kept.is_file() and not self.kept.is_symlink()

    @property
    def _paths(self) -> str:
        return f"{self.chain}\n{self.key}\n"

    def state(self) -> str:
        """Changes whenever one of the files is another, is replaced or written to. Raises Refused for one that is not there."""
        return self._paths + "".join(f"{found.st_ino} {found.st_size} {found.st_ctime_ns}\n" for found in map(_stat, (self.chain, self.key)))

    def check(self) -> None:
        """Raises Refused, naming the files, unless the key is the certificate's and can be read without a passphrase, and the proxy can use both."""
        import ssl  # 15 ms, only where there is something to check

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, password="")
            why = self._wrong()
        except ssl.SSLError as error:
            why = self._in_words(error.reason) or str(error)
        except (OSError, ValueError, Unavailable) as error:
            why = str(error)
        if why:
            raise Refused(f"the certificate {self.chain} with the key {self.key} cannot be used: {why}")

    def _in_words(self, reason: str | None) -> str:
        """What OpenSSL finds wrong, where it says it in words that help nobody."""
        if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # the latter where it is not even of the same kind
            return "the key is not this certificate's"
        for path, what in ((self.chain, "CERTIFICATE"), (self.key, "PRIVATE KEY")):
            text = _text(path)
            if not any(each[1].endswith(what) for each in re.finditer(_BLOCK, text)):
                return f"{path} {f'holds no {what} of PEM' if text.strip() else 'is empty'}"
        if "ENCRYPTED" in _text(self.key):
            return f"the key has a passphrase, which nobody is there to type: `openssl pkey -in {self.key} -out NEW` writes it without one"
        return ""

    def _wrong(self) -> str:
        """What the proxy finds wrong with the files. It is not asked again at once while they do not change: who refuses them may be asked several times a
        second.
        """
        now = self.state()  # before they are read
        if self._judged[0] != now or time.monotonic() > self._judged[2] + JUDGED:
            self._judged = now, self._fault(self.chain, self.key), time.monotonic()
        return self._judged[1]

    def begin(self, keep: Callable[[Path, str], None]) -> None:
        """Has ``kept`` hold what a proxy is to start with: the files as they are, or, where those cannot be used, what it holds. Raises Refused for neither."""
        try:
            now = self.state()  # before they are read
            self.check()
            pem = self.pem()
        except Refused:
            if not self.lasts:
                raise
            return
        keep(self.kept, pem)
        keep(self.mark, now)

    def renew(self, listen: str, give: Callable[[str], None], keep: Callable[[Path, str], None]) -> None:
        """If the files are not those that the proxy has: checks them, gives it what is in them, and waits until its listener shows them.

        Raises Refused for files that cannot be used, and Unavailable if they are not shown; the proxy then goes on with what it has.
        """
        try:
            now = self.state()  # before they are read: what changes meanwhile is looked at again
            if text_of(self.mark) == now:
                return
            self.check()
            pem = self.pem()
            give(pem)
            self._shown(listen)
        except Refused as refusal:
            raise Refused(f"{refusal}; the router goes on with the certificate that it has") from None
        keep(self.kept, pem)
        keep(self.mark, now)

    def untaken(self) -> str:
        """Why the proxy goes on with another certificate than what the files hold now; empty if it does not, or if nothing is wrong with them."""
        try:
            if text_of(self.mark) != self.state():
                self.check()
        except Refused as refusal:
            return str(refusal)
        return ""

    def runs_out(self) -> float:
        """Until when the certificate is good, in seconds since the epoch (RFC 5280, section 4.1: the third sequence of what is signed says it).

        Raises ValueError for one that says it in another way.
        """
        import calendar

        try:
            signed = next(_parts(_certificate(self._first())))[1]
            validity = [held for tag, held in _parts(signed) if tag == _SEQUENCE][2]
            _, (tag, until) = _parts(validity)
        except (IndexError, StopIteration):
            raise ValueError("the certificate has no dates where they belong") from None
        return calendar.timegm(time.strptime(until.decode(), "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"))

    def _first(self) -> str:
        """The certificate itself, which its chain follows."""
        return next(each[0] for each in re.finditer(_BLOCK, _text(self.chain)) if each[1].endswith("CERTIFICATE"))

    def pem(self) -> str:
        """Certificate, chain and key without anything around them, an empty line least of all. Raises Refused for a file that cannot be read."""
        blocks = [(each[1], each[0]) for path in (self.chain, self.key) for each in re.finditer(_BLOCK, _text(path))]
        certificates = [text for label, text in blocks if label.endswith(("CERTIFICATE", "DH PARAMETERS"))]
        keys = [text for label, text in blocks if label.endswith("PRIVATE KEY")]
        return "".join(f"{line}\n" for text in dict.fromkeys(certificates + keys) for line in text.splitlines() if line.strip())

    def _shown(self, listen: str) -> None:
        import ssl

        host, _, port = listen.rpartition(":")
        at = host.strip("[]*") or "127.0.0.1", int(port)
        wanted = _certificate(self._first())
        deadline = time.monotonic() + _SHOWN
        while True:
            try:
                if _certificate(ssl.get_server_certificate(at, timeout=1.0)) == wanted:
                    return
                why = "another one is shown"
            except OSError as error:
                why = str(error)
            if time.monotonic() > deadline:
                raise Unavailable(f"{listen} does not show the certificate {self.chain} yet, which was renewed: {why}")
            time.sleep(0.005)


def _certificate(pem: str) -> bytes:
    """What a certificate holds, DER: in one with OpenSSL's own label, TRUSTED CERTIFICATE, more follows it, which is shown to nobody."""
    import binascii

    return next(_parts(binascii.a2b_base64("".join(pem.split("-----")[2].split()))))[1]


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """What stands side by side in DER: the tag of each, and what it holds."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            more = length & 0x7F
            length, at = int.from_bytes(der[at : at + more], "big"), at + more
        yield tag, der[at : at + length]
        at += length


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise Refused(f"the certificate cannot be used: {path}, which tls names: {error.strerror}") from None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Refused(f"the certificate cannot be used: {path}, which tls names: {error.strerror}") from None
