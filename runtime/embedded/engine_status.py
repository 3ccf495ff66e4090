"""ClickHouse's error codes as HTTP statuses, and its formats as content types (HTTPHandler.cpp)."""

from __future__ import annotations

_STATUS_BY_CODE = {
    **dict.fromkeys((194,), 401),  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 497, 511, 516), 403),  # unknown user, wrong password, access denied
    # What could not be parsed or does not fit: text, numbers, dates, identifiers, syntax trees, types.
    **dict.fromkeys(
        (6, 25, 26, 27, 36, 38, 41, 72, 117, 118, 53, 62, 69, 70, 167, 168, 376, 427, 441, 457), 400
    ),
    **dict.fromkeys((15, 35, 44, 47, 51, 73, 115, 182, 223, 225, 46, 50, 56, 60, 63, 78, 80, 81), 404),
    **dict.fromkeys((159,), 408),  # TIMEOUT_EXCEEDED
    **dict.fromkeys((229, 307), 413),  # QUERY_IS_TOO_LARGE, TOO_MANY_BYTES
    **dict.fromkeys((48,), 501),  # NOT_IMPLEMENTED
    **dict.fromkeys((76, 209), 503),  # CANNOT_OPEN_FILE, SOCKET_TIMEOUT
}
_TEXT = "text/plain; charset=UTF-8"
_CONTENT_TYPE = {
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
}


def http_status(code: int) -> int:
    """The HTTP status of a ClickHouse error code; 500 unless the request was at fault."""
    return _STATUS_BY_CODE.get(code, 500)


def content_type(output_format: str) -> str:
    """The content type of a ClickHouse format; "" means plain text."""
    if output_format.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    return _CONTENT_TYPE.get(output_format, _TEXT)
