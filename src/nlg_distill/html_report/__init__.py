"""One self-contained HTML page about finished runs."""

from nlg_distill.html_report.page import write_report

__all__ = ["write_report"]
