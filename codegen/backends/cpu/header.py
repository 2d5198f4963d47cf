"""The integers with which the table of a compiled step begins, and where each is."""

from __future__ import annotations

from enum import IntEnum


class Header(IntEnum):
    """The table's first entries; `..._AT` hold addresses.

    The stretches, which every thread writes, are two cache lines away from the others, which every thread reads.
    """

    PASS = 0  # the kernel to run
    TENSORS = 1  # the number of tensors
    CLAIMS_AT = 2  # int64[claims + 1]: first row of each claim
    ROWS_AT = 3  # int64[rows][4]: tensor, start, count, alone
    FIRST_AT = 4  # int64[tensors + 1]: first row of each tensor
    ARRAYS_AT = 5  # int64[tensors][arrays]: addresses
    SCALARS_AT = 6  # float64[scalars]
    HYPERS_AT = 7  # float64[hypers and what is ahead][tensors]
    PARTIAL_AT = 8  # float64[rows][reductions]
    OWN_AT = 9  # float64[tensors][reductions]: results, one a tensor
    TOTAL_AT = 10  # float64[reductions]: results over all tensors
    REDUCTIONS = 11  # the number of reductions
    FOLDS_AT = 12  # int64[reductions]: how each folds, see `fold_code`
    STARTS_AT = 13  # float64[reductions]: what each folds of no elements
    PLACES_AT = 14  # int64[tensors][spaces][3]: where numbers over axes are, see `axes.Places`
    SUMS_AT = 15  # int64[rows][reductions over axes][3]: where a row adds up, and between which of these numbers
    STRETCHES = 32  # for each seat its claims, see `claims.StretchCell`


def at(entry: Header) -> str:
    """The text of a header entry."""
    return f"table[{entry.value}]"
