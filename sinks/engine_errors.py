"""What an error of ClickHouse (or of the way to it) asks us to do.

Codes are those of ClickHouse's ``src/Common/ErrorCodes.cpp``. A code that is in none of the lists counts as
``Transient``: the caller tries again with the same bytes and token until its deadline, so nothing is lost by
a guess.
"""

from __future__ import annotations

from clickhouse_connect.driver.exceptions import Error

from attribution.errors import HeadwaterError, Misconfigured, Rejected, Transient

DATA_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        441,  # CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
        469,  # VIOLATED_CONSTRAINT
    }
)
"""The rows are wrong and will always be."""

SCHEMA_CODES = frozenset(
    {
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        36,  # BAD_ARGUMENTS
        46,  # UNKNOWN_FUNCTION
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        62,  # SYNTAX_ERROR
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
    }
)
"""The tables (or the server's version) are not those that this program expects."""

ACCESS_CODES = frozenset(
    {
        164,  # READONLY
        192,  # UNKNOWN_USER
        193,  # WRONG_PASSWORD
        194,  # REQUIRED_PASSWORD
        195,  # IP_ADDRESS_NOT_ALLOWED
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
    }
)
"""The account may not do this."""


def explain_error(error: Error) -> HeadwaterError:
    """The error of ours that says what to do about ``error``."""
    text = " ".join(str(error).split())[:1000]
    if error.code in DATA_CODES:
        return Rejected("refused_by_clickhouse", f"ClickHouse does not take these rows: {text}")
    if error.code in SCHEMA_CODES:
        return Misconfigured(
            f"ClickHouse does not have the tables that this version expects: {text}",
            "Run `headwater migrate`.",
        )
    if error.code in ACCESS_CODES:
        return Misconfigured(
            f"ClickHouse refuses this account: {text}",
            "Check user, password and grants in HEADWATER_CLICKHOUSE.",
        )
    return Transient(f"ClickHouse is away or overloaded: {text}")
