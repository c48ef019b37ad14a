"""State of record (SQL), its migrations, and the results store."""

from pointsman.storage.bucket import StoredFile
from pointsman.storage.database import open_database
from pointsman.storage.results import PATIENCE_S, LocalResults, ResultsSpec, Uploads, local_path, write_atomically
from pointsman.storage.shared import SharedResults, Spooled, open_results
from pointsman.storage.transitions import move, record_creation
from pointsman.storage.upsert import insert_absent

__all__ = [
    "PATIENCE_S",
    "LocalResults",
    "ResultsSpec",
    "SharedResults",
    "Spooled",
    "StoredFile",
    "Uploads",
    "insert_absent",
    "local_path",
    "move",
    "open_database",
    "open_results",
    "record_creation",
    "write_atomically",
]
