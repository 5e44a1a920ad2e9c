"""How things of the house are called on pages."""

from django import template

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
