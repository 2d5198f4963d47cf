"""Plural: how many of what, in words."""


def counted(count: int, what: str) -> str:
    """So many of what is counted: 1 variable, 1,000 variables."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
