"""Numbers and sizes as people read them."""

from django import template

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """12345 -> 12,345."""
    return f"{number:,}"


@register.filter
def percent(share: float | None) -> str:
    """0.873 -> 87 %."""
    return "–" if share is None else f"{share * 100:.0f} %"
