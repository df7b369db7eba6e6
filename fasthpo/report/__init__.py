"""A study as one HTML page that needs nothing else: no network, no other file, no library.

What the page says is put together as plain data; the script in it draws that. What may enter here is for this page;
numbers that other pictures are drawn from, too, belong to `analysis/`.
"""

from fasthpo.report.page import write_report

__all__ = ["write_report"]
