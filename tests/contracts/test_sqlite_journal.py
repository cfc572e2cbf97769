"""The journal in SQLite keeps the contract."""

from bleen.host.state import Place
from bleen.ports import Journal
from bleen.providers.journals.sqlite import SQLite
from bleen.testing.journals import NAME, JournalContract, Shelf


class TestSQLite(JournalContract):
    def build(self, shelf: Shelf) -> Journal:
        place = Place(NAME, shelf.root)
        place.make()
        return SQLite(place, since_boot=shelf.clock.now, boot_id=shelf.boot_id)
