"""Which pages of the admin are measured."""

from urllib.parse import urlencode

from django.urls import reverse

from portrait.core.keyset import Key, page_of
from portrait.gallery.models import Collection, Identity
from portrait.jobs.models import Job

PEOPLE = "admin:gallery_identity_changelist"
NEWEST = (Key("created_at", descending=True), Key("id", descending=True))


def addresses() -> dict[str, str]:
    """By what each shows. The middle of the list is reached by its cursor, as by turning many pages."""
    people, journal = reverse(PEOPLE), reverse("admin:gallery_change_changelist")
    person, job = Identity.objects.order_by("id").first(), Job.objects.order_by("id").first()
    if person is None or job is None:
        raise RuntimeError("the database is empty")
    small = Collection.objects.get(name="small")
    return {
        "overview": reverse("admin:index"),
        "people": people,
        "people, the middle": f"{people}?{_middle()}",
        "people by name": f"{people}?o=1",
        "people of a small collection": f"{people}?collection__id__exact={small.pk}",
        "people: unknown": f"{people}?kind__exact=unknown",
        "people: hidden": f"{people}?presence=hidden",
        "people: deleted": f"{people}?presence=deleted",
        "people: without consent": f"{people}?consent=none",
        "people: weak portraits": f"{people}?portraits=weak",
        "search: two words": f"{people}?q=hopper+tur",
        "search: one person": f"{people}?q={person.name.split()[-1]}",
        "search: external id": f"{people}?q={person.external_id}",
        "a person": reverse("admin:gallery_identity_change", args=[person.pk]),
        "journal": journal,
        "journal of a person": f"{journal}?person={person.pk}",
        "review": reverse("admin:curation_suggestion_changelist"),
        "jobs": reverse("admin:jobs_job_changelist"),
        "a job": reverse("admin:jobs_job_change", args=[job.pk]),
        "sightings": reverse("admin:sightings_sighting_changelist"),
        "sightings of a person": reverse("admin:sightings_sighting_changelist") + f"?identity__id__exact={person.pk}",
    }


def _middle() -> str:
    people = Identity.objects.filter(deleted_at=None, merged_into=None)
    row = people.order_by("-created_at", "-id")[people.count() // 2]
    cursor = page_of(people.filter(created_at__lte=row.created_at), NEWEST, 1).next
    return urlencode({"_after": cursor})
