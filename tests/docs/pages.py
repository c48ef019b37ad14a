"""What is written for users, as one text: the README, then the pages that it leads to."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"
PAGES = (README, *sorted((CHECKOUT / "docs").glob("*.md")))
TEXT = "\n".join(page.read_text() for page in PAGES)
