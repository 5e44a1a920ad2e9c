"""Rights: who may not, sees nothing and changes nothing; nothing changes by a GET, nothing without a token."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from portrait.curation.models import Kind, Suggestion
from portrait.gallery.models import Change, Collection, Identity
from portrait.gallery.services import editing
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import Job, JobItem
from tests.portrait.console.conftest import MakePeople, SignIn

pytestmark = pytest.mark.django_db

VIEW = ("gallery.view_identity", "gallery.view_portrait", "gallery.view_change", "jobs.view_job")
VIEW += ("curation.view_suggestion",)


@pytest.fixture
def pair(people: MakePeople) -> Iterator[list[Identity]]:
    chosen = people(2)
    yield chosen
    for person in chosen:
        now = Identity.objects.get(pk=person.pk)
        assert (now.deleted_at, now.merged_into, now.hidden) == (None, None, False), "nothing of this was allowed"


@pytest.fixture
def posts(pair: list[Identity], collection: Collection) -> list[tuple[str, dict[str, object]]]:
    """Every address that changes something, with a form that would."""
    first, second = pair
    portrait = first.portraits.first()
    assert portrait is not None
    change = editing.update(identity=first, actor=Actor("x"), action="open the door")
    assert change is not None
    asked = Suggestion.objects.create(
        collection=collection, kind=Kind.SAME_PERSON, fingerprint="f", identities=[first.pk, second.pk], score=0.9
    )
    job = Job.objects.create(kind="enrol", queue="ingest")
    JobItem.objects.create(job=job, index=0)

    def at(name: str, *keys: object) -> str:
        return reverse(f"admin:{name}", args=keys)

    edit, portraits = at("gallery_identity_edit", first.pk), at("gallery_identity_portraits", first.pk)
    ids = f"{first.pk},{second.pk}"
    return [
        (edit, {"deed": "rename", "name": "x"}),
        (edit, {"deed": "hide"}),
        (edit, {"deed": "delete"}),
        (edit, {"deed": "merge", "to": str(second.pk)}),
        (portraits, {"deed": "delete", "portraits": str(portrait.pk)}),
        (portraits, {"deed": "split", "portraits": str(portrait.pk)}),
        (at("gallery_identity_bulk"), {"deed": "delete", "ids": ids}),
        (at("gallery_identity_bulk"), {"deed": "hide", "ids": ids}),
        (at("gallery_identity_bulk"), {"deed": "merge", "ids": ids, "into": str(first.pk)}),
        (at("gallery_change_undo", change.pk), {}),
        (at("curation_suggestion_answer", asked.pk), {"answer": "yes"}),
        (at("curation_suggestion_undo", asked.pk), {}),
        (at("jobs_job_cancel", job.pk), {}),
        (at("jobs_job_retry", job.pk), {}),
    ]


Posts = list[tuple[str, dict[str, object]]]


def test_who_has_no_right_sees_nothing(sign_in: SignIn, pair: list[Identity]) -> None:
    clerk = sign_in()
    for model in admin.site._registry:
        label = f"{model._meta.app_label}_{model._meta.model_name}"
        assert clerk.get(reverse(f"admin:{label}_changelist")).status_code == 403, label
    first = pair[0]
    portrait = first.portraits.first()
    assert portrait is not None
    for name, keys in (
        ("gallery_identity_by_photo", []),
        ("gallery_identity_pick", []),
        ("gallery_identity_change", [first.pk]),
        ("gallery_portrait_face", [portrait.pk]),
        ("gallery_portrait_whole", [portrait.pk]),
    ):
        assert clerk.get(reverse(f"admin:{name}", args=keys)).status_code == 403, name
    page = clerk.get(reverse("admin:index")).content.decode()
    assert first.name not in page
    assert "/admin/gallery/" not in page, "nor is there a way to it in the menu"


def test_faces_need_the_right_for_portraits(sign_in: SignIn, pair: list[Identity]) -> None:
    clerk = sign_in("gallery.view_identity")
    portrait = pair[0].portraits.first()
    assert portrait is not None
    grid = clerk.get(reverse("admin:gallery_identity_changelist")).content.decode()
    person = clerk.get(reverse("admin:gallery_identity_change", args=[pair[0].pk])).content.decode()
    for page in (grid, person):
        assert pair[0].name in page
        assert "/face/" not in page
        assert "thumbnail" not in page
    assert clerk.get(reverse("admin:gallery_portrait_face", args=[portrait.pk])).status_code == 403


def test_nobody_changes_anything_with_the_right_to_look(sign_in: SignIn, posts: Posts) -> None:
    clerk, before = sign_in(*VIEW), Change.objects.count()
    for address, form in posts:
        assert clerk.post(address, form).status_code == 403, (address, form)
    assert Change.objects.count() == before
    assert not JobItem.objects.exclude(state="waiting").exists()


def test_strangers_are_sent_to_the_login(posts: Posts) -> None:
    for address, form in posts:
        answer = Client().post(address, form)
        assert answer.status_code == 302
        assert "/login/" in answer.headers["Location"]


def test_nothing_changes_by_a_get(root: Client, posts: Posts) -> None:
    before = Change.objects.count()
    for address, form in posts:
        assert root.get(address, form).status_code == 405, address
    assert Change.objects.count() == before


def test_nothing_changes_without_the_token(root: Client, posts: Posts) -> None:
    strict, before = Client(enforce_csrf_checks=True), Change.objects.count()
    strict.cookies = root.cookies
    for address, form in [*posts, (reverse("admin:gallery_identity_by_photo"), {})]:
        assert strict.post(address, form).status_code == 403, address
    assert Change.objects.count() == before


def test_to_delete_needs_its_own_right(sign_in: SignIn, pair: list[Identity]) -> None:
    clerk = sign_in("gallery.view_identity", "gallery.change_identity")
    first = pair[0]
    portrait = first.portraits.first()
    assert portrait is not None
    edit = reverse("admin:gallery_identity_edit", args=[first.pk])
    assert clerk.post(edit, {"deed": "delete"}).status_code == 403
    assert clerk.post(edit, {"deed": "restore"}).status_code == 403
    portraits = reverse("admin:gallery_identity_portraits", args=[first.pk])
    assert clerk.post(portraits, {"deed": "delete", "portraits": str(portrait.pk)}).status_code == 403
    assert (
        clerk.post(reverse("admin:gallery_identity_bulk"), {"deed": "delete", "ids": str(first.pk)}).status_code == 403
    )
    choices = clerk.get(reverse("admin:gallery_identity_changelist")).content.decode()
    assert "delete_people" not in choices
    assert "hide_people" in choices


def test_to_undo_a_deletion_or_a_restoration_needs_the_same_right(sign_in: SignIn, pair: list[Identity]) -> None:
    person, actor = pair[0], Actor("x")
    portrait = person.portraits.first()
    assert portrait is not None
    editing.delete(identity=person, actor=actor)
    back = editing.restore(identity=person, actor=actor)
    gone = editing.delete_portrait(portrait=portrait, actor=actor)
    rename = editing.update(identity=person, actor=actor, name="Ada")
    assert rename is not None
    rights = ("gallery.view_identity", "gallery.change_identity", "gallery.view_change")
    clerk, keeper = sign_in(*rights), sign_in(*rights, "gallery.delete_portrait")
    for change in (back, gone):
        address = reverse("admin:gallery_change_undo", args=[change.pk])
        assert clerk.post(address).status_code == 403
        for page in (
            reverse("admin:gallery_change_changelist"),
            reverse("admin:gallery_identity_change", args=[person.pk]),
        ):
            text = clerk.get(page).content.decode()
            assert address not in text, "nor is there a button"
            assert reverse("admin:gallery_change_undo", args=[rename.pk]) in text
    assert clerk.post(reverse("admin:gallery_change_undo", args=[rename.pk])).status_code == 302
    assert keeper.post(reverse("admin:gallery_change_undo", args=[gone.pk])).status_code == 302
    portrait.refresh_from_db()
    assert portrait.deleted_at is None


def test_to_take_back_an_answer_that_deleted_needs_the_right_to_delete(
    sign_in: SignIn, root: Client, pair: list[Identity], collection: Collection
) -> None:
    portrait = pair[0].portraits.first()
    assert portrait is not None
    asked = Suggestion.objects.create(
        collection=collection,
        kind=Kind.WEAK,
        fingerprint="w",
        identities=[pair[0].pk],
        portraits=[portrait.pk],
        score=0.9,
    )
    root.post(reverse("admin:curation_suggestion_answer", args=[asked.pk]), {"answer": "yes"})
    portrait.refresh_from_db()
    assert portrait.deleted_at is not None
    clerk = sign_in("curation.view_suggestion", "curation.change_suggestion", "gallery.change_identity")
    assert clerk.post(reverse("admin:curation_suggestion_undo", args=[asked.pk])).status_code == 403


def test_who_may_not_see_names_reads_them_neither_in_the_journal_nor_in_the_queue(
    sign_in: SignIn, pair: list[Identity], collection: Collection
) -> None:
    clerk = sign_in("gallery.view_change", "curation.view_suggestion", "curation.change_suggestion")
    for name in ("gallery_change_changelist", "curation_suggestion_changelist"):
        address = reverse(f"admin:{name}")
        assert clerk.get(address).status_code == 403, name
        assert address not in clerk.get(reverse("admin:index")).content.decode(), "nor is there a way to it"
        allowed = sign_in("gallery.view_identity", "gallery.view_change", "curation.view_suggestion")
        assert allowed.get(address).status_code == 200, name
        assert address in allowed.get(reverse("admin:index")).content.decode()


def test_who_may_not_see_faces_asks_nobody_by_photo(sign_in: SignIn, people: MakePeople) -> None:
    people(1)
    clerk, address = sign_in("gallery.view_identity"), reverse("admin:gallery_identity_by_photo")
    assert clerk.get(address).status_code == 403
    assert clerk.post(address, {}).status_code == 403
    assert address not in clerk.get(reverse("admin:gallery_identity_changelist")).content.decode()
    assert sign_in("gallery.view_identity", "gallery.view_portrait").get(address).status_code == 200


def test_addresses_that_name_nothing(root: Client) -> None:
    nobody = uuid4()
    for name, key in (
        ("gallery_identity_edit", nobody),
        ("gallery_identity_portraits", nobody),
        ("gallery_change_undo", 99_999_999),
        ("curation_suggestion_answer", nobody),
        ("jobs_job_cancel", nobody),
    ):
        assert root.post(reverse(f"admin:{name}", args=[key]), {"deed": "x"}).status_code == 404, name
    assert root.get(reverse("admin:gallery_portrait_face", args=[nobody])).status_code == 404
    assert root.post(reverse("admin:gallery_identity_bulk"), {"deed": "explode", "ids": "x"}).status_code == 403
