"""State of record (SQL), its migrations, and the results store."""

from pointsman.storage.database import open_database
from pointsman.storage.results import LocalResults, ResultsSpec, StoredFile, local_path, write_atomically
from pointsman.storage.transitions import move, record_creation
from pointsman.storage.upsert import insert_absent

__all__ = [
    "LocalResults",
    "ResultsSpec",
    "StoredFile",
    "insert_absent",
    "local_path",
    "move",
    "open_database",
    "record_creation",
    "write_atomically",
]
