"""What a run hands back to Python."""

from __future__ import annotations

from typing import NamedTuple

from expunge.reports.notebook import RunReport
from expunge.storage.run import RunFolder


class Finished(NamedTuple):
    """A finished run and its record (None without an audit); a notebook shows the record as a card."""

    run: RunFolder
    record: RunReport | None

    def _repr_html_(self) -> str | None:
        """The record's card; None, which notebooks take for no HTML, without an audit."""
        return None if self.record is None else self.record._repr_html_()
