"""What a scan has found, as files: for programs, for spreadsheets, for examiners and for people."""

from matcher.scan.reports.writing import FILES, FORMATS, TOTALS, Written, write_reports

__all__ = ["FILES", "FORMATS", "TOTALS", "Written", "write_reports"]
