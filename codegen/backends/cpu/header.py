"""The integers with which the table of a compiled step begins, and where each is."""

from __future__ import annotations

from enum import IntEnum


class Header(IntEnum):
    """The table's first entries; `..._AT` hold addresses.

    NEXT, which every thread writes, is two cache lines away from the others, which every thread reads.
    """

    NEXT = 0  # the claim that is taken next
    CLAIMS = 16  # the number of claims
    PASS = 17  # the kernel to run
    TENSORS = 18  # the number of tensors
    CLAIMS_AT = 19  # int64[claims + 1]: first row of each claim
    ROWS_AT = 20  # int64[rows][4]: tensor, start, count, alone
    FIRST_AT = 21  # int64[tensors + 1]: first row of each tensor
    ARRAYS_AT = 22  # int64[tensors][arrays]: addresses
    SCALARS_AT = 23  # float64[scalars]
    HYPERS_AT = 24  # float64[hypers and what is ahead][tensors]
    PARTIAL_AT = 25  # float64[rows][reductions]
    OWN_AT = 26  # float64[tensors][reductions]: results, one a tensor
    TOTAL_AT = 27  # float64[reductions]: results over all tensors
    REDUCTIONS = 28  # the number of reductions
    FOLDS_AT = 29  # int64[reductions]: how each folds, see `fold_code`
    STARTS_AT = 30  # float64[reductions]: what each folds of no elements
    PLACES_AT = 31  # int64[tensors][spaces][3]: where numbers over axes are, see `axes.Places`
    SUMS_AT = 32  # int64[rows][reductions over axes][3]: where a row adds up, and between which of these numbers


HEADER_SIZE = 40


def at(entry: Header) -> str:
    """The text of a header entry."""
    return f"table[{entry.value}]"
