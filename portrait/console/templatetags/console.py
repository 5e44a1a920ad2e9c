"""How things of the house are shown on pages."""

from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portrait.console.places import GROUPS, address_of, is_registered
from portrait.gallery.models import Portrait
from portrait.jobs.models import Job

register = template.Library()

JOB_TITLES = {
    "enrol": "Enrol photos",
    "edit-people": "Change many people",
    "relabel": "Re-label what was seen",
    "import": "Import photos",
    "export": "Export a collection",
    "reindex": "Re-index",
    "describe": "Describe frames",
}
"""A kind that is not named here is shown with its words apart."""


@register.filter
def job_title(kind: str) -> str:
    return JOB_TITLES.get(kind) or kind.replace("-", " ").replace("_", " ").capitalize()


@register.filter
def in_words(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where a page is, called as in the sidebar: no name of an app, nor of a table."""
    titles = {address_of(label): title for _, pages in GROUPS for title, _, label in pages if is_registered(label)}
    named = [{**part, "title": titles.get(str(part.get("link")), part["title"])} for part in parts]
    for part in named:
        if isinstance(part["title"], Job):
            part["title"] = job_title(part["title"].kind)
    return named[1:] if len(named) > 1 else named  # the first is the app


@register.simple_tag
def face(portrait: Portrait | None, style: str = "portrait-face", alt: str = "") -> SafeString:
    """The thumbnail, through the view that asks for rights; a silhouette where there is none."""
    if not portrait:  # a template says "" for what is not there
        return format_html('<span class="{} portrait-noface material-symbols-outlined">person</span>', style)
    address = reverse("admin:gallery_portrait_face", args=[portrait.pk])
    return format_html('<img class="{}" src="{}" alt="{}" loading="lazy" decoding="async">', style, address, alt)


@register.filter
def may(user: Any, rights: list[str]) -> bool:
    return bool(user.has_perms(rights))


@register.filter
def first_face(person: object) -> Portrait | None:
    """Of `with_newest_portraits`."""
    return next(iter(getattr(person, "newest_portraits", None) or getattr(person, "newest", [])), None)


@register.filter
def quality_score(portrait: Portrait) -> float:
    return float(portrait.quality.get("score") or 0)


@register.simple_tag
def order_url(cl: Any, ordering: str) -> str:
    """The list in another order: Django's lists name columns by their place."""
    place = cl.list_display.index(ordering.lstrip("-"))
    return str(cl.get_query_string({"o": f"-{place}" if ordering.startswith("-") else str(place)}))
