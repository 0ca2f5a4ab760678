"""What a run leaves for people to read and check: record, report, tables, signature."""

from expunge.reports.notebook import RunReport
from expunge.reports.table import to_csv, to_latex

__all__ = ["RunReport", "to_csv", "to_latex"]
