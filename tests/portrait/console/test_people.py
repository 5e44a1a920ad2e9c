"""The grid of people and a person's page: found, filtered, edited, taken back."""

from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from portrait.audit.models import AuditEntry
from portrait.demo.photos import COLLINS, HOPPER, PhotoSet
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.identities import delete_identity
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import Job
from portrait.jobs.services import QueueFullError
from portrait.jobs.tasks import run_item
from portrait.privacy.inventory import rows_of
from tests.portrait.console.conftest import MakePeople, portrait_of

pytestmark = pytest.mark.django_db(transaction=True)

GRID = "admin:gallery_identity_changelist"
ANNA = Actor("user anna")


def names(client: Client, query: str = "") -> list[str]:
    page = client.get(reverse(GRID) + query)
    assert page.status_code == 200, query
    return [person.name for person in page.context["cl"].page.rows]


def page_of(client: Client, person: Identity) -> str:
    return client.get(reverse("admin:gallery_identity_change", args=[person.pk])).content.decode()


def do(client: Client, page: str, person: Identity, **values: object) -> str:
    answer = client.post(reverse(f"admin:gallery_identity_{page}", args=[person.pk]), values, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("hopper", ["Grace Hopper"]),
        ("GRA hop", ["Grace Hopper"]),
        ("hop gra", ["Grace Hopper"]),
        ("jos", ["José María O'Brien-Smith"]),
        ("o'brien", ["José María O'Brien-Smith"]),
        ("smith", ["José María O'Brien-Smith"]),
        ("X-1", ["Grace Hopper"]),
        ("x-", ["Grace Hopper"]),
        ("opper", []),
        ("nobody", []),
        ("' & | ! :* \\ ( ) <->", []),
        ("\\", []),
        ("100%", []),
    ],
)
def test_people_are_found_by_the_beginnings_of_words(
    root: Client, collection: Collection, term: str, found: list[str]
) -> None:
    Identity.objects.create(collection=collection, name="Grace Hopper", external_id="X-1")
    Identity.objects.create(collection=collection, name="José María O'Brien-Smith")
    page = root.get(reverse(GRID), {"q": term})
    assert page.status_code == 200
    assert [person.name for person in page.context["cl"].page.rows] == found


def test_words_that_many_have(root: Client, people: MakePeople, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = people(60, portraits=0)
    monkeypatch.setattr("portrait.gallery.finding.FEW_FOUND", 10)
    assert names(root, "?q=pers") == [person.name for person in reversed(everybody)][:48]
    assert names(root, f"?q=pers+{everybody[3].name.split()[1]}") == [everybody[3].name]


def test_filters(root: Client, people: MakePeople, other_collection: Collection) -> None:
    plain, weak, bare, hidden, deleted, merged = people(6, portraits=0)
    Portrait.objects.bulk_create([portrait_of(plain, "a"), portrait_of(weak, "b", 0.2), portrait_of(hidden, "c")])
    Identity.objects.filter(pk=plain.pk).update(consent="signed form")
    Identity.objects.filter(pk=weak.pk).update(kind="unknown")
    foreign = Identity.objects.create(collection=other_collection, name="Foreign")
    editing.update(identity=hidden, actor=ANNA, hidden=True)
    editing.delete(identity=deleted, actor=ANNA)
    editing.merge(target=plain, sources=[merged], actor=ANNA)
    present = {plain.name, weak.name, bare.name, hidden.name, foreign.name}
    assert set(names(root)) == present
    assert names(root, "?presence=hidden") == [hidden.name]
    assert names(root, "?presence=deleted") == [deleted.name]
    assert names(root, "?presence=merged") == [merged.name]
    assert names(root, "?portraits=weak") == [weak.name]
    assert set(names(root, "?portraits=none")) == {bare.name, foreign.name}
    assert names(root, "?consent=noted") == [plain.name]
    assert set(names(root, "?consent=none")) == present - {plain.name}
    assert names(root, "?kind__exact=unknown") == [weak.name]
    assert names(root, f"?collection__id__exact={other_collection.pk}") == ["Foreign"]


def test_pages_follow_each_other_in_any_order(root: Client, people: MakePeople) -> None:
    everybody = [person.name for person in people(60, portraits=0)]
    for order, wanted in (("", everybody[::-1]), ("?o=1", sorted(everybody))):
        first = root.get(reverse(GRID) + order)
        second = root.get(reverse(GRID) + first.context["cl"].next_url)
        shown = [person.name for page in (first, second) for person in page.context["cl"].page.rows]
        assert shown == wanted
        assert second.context["cl"].next_url is None
        back = root.get(reverse(GRID) + second.context["cl"].previous_url)
        assert [person.name for person in back.context["cl"].page.rows] == wanted[:48]
    assert root.get(reverse(GRID) + "?_after=nonsense&_before=nonsense").status_code == 200


def test_a_person_is_found_by_photo_and_the_question_is_noted(
    root: Client, collection: Collection, photos: PhotoSet
) -> None:
    for name in (COLLINS, HOPPER):
        enrol_person(collection=collection, name=name, photos=[photos.people[name][0].data])
    address, before = reverse("admin:gallery_identity_by_photo"), AuditEntry.objects.count()
    both = next(photo.data for photo in photos.probes if photo.name == "both in one picture")
    asked = {"collection": collection.pk, "photo": SimpleUploadedFile("both.jpg", both, "image/jpeg")}
    faces = root.post(address, asked).context["faces"]
    best = {face.candidates[0].identity.name for face in faces}
    assert best == {COLLINS, HOPPER}
    assert all(face.candidates[0].similarity > 0.5 > face.candidates[-1].similarity for face in faces)
    entry = AuditEntry.objects.latest("id")
    assert AuditEntry.objects.count() == before + 1
    assert (entry.action, entry.actor, entry.collection_id) == ("search", "root", collection.pk)
    assert len(entry.probe_sha256) == 64
    nothing = {"collection": collection.pk, "photo": SimpleUploadedFile("a.jpg", b"no picture")}
    page = root.post(address, nothing)
    assert page.context["faces"] is None
    assert page.context["form"].errors["photo"]
    assert root.post(address, {"collection": collection.pk}).context["form"].errors["photo"]


def test_a_photo_above_the_limit_is_not_looked_at(
    root: Client, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.console.photo_search.by_photo", lambda **_: pytest.fail("it was looked at"))
    photo = SimpleUploadedFile("big.jpg", b"\xff\xd8" + bytes(26 * 2**20))
    page = root.post(reverse("admin:gallery_identity_by_photo"), {"collection": collection.pk, "photo": photo})
    assert "25 MB" in str(page.context["form"].errors["photo"])


def test_a_rename_is_in_the_journal_and_is_undone(root: Client, people: MakePeople) -> None:
    person = people(1)[0]
    assert "Renamed to Ada." in do(root, "edit", person, deed="rename", name=" Ada ")
    change = Change.objects.get()
    assert (change.action, change.actor) == ("rename", "user root")
    undo = reverse("admin:gallery_change_undo", args=[change.pk])
    assert undo in page_of(root, person)
    back = reverse("admin:gallery_identity_change", args=[person.pk])
    answer = root.post(undo, {"next": back})
    assert answer.headers["Location"] == back
    person.refresh_from_db()
    assert person.name.startswith("Person")
    assert root.post(undo, {"next": "https://elsewhere.example/"}).headers["Location"].startswith("/admin/")
    assert "A name has 1 to 200 characters." in do(root, "edit", person, deed="rename", name=" ")


def test_the_form_writes_only_what_was_changed_and_notes_it(root: Client, people: MakePeople) -> None:
    person = people(1)[0]
    form = {"name": person.name, "external_id": person.external_id, "metadata": '{"team": 7}', "kind": "known"}
    form |= {"consent": "asked on Monday", "keep_until": ""}
    root.post(reverse("admin:gallery_identity_change", args=[person.pk]), form)
    change = Change.objects.get()
    assert {step["field"] for step in change.steps} == {"metadata", "consent"}
    person.refresh_from_db()
    assert (person.metadata, person.consent) == ({"team": 7}, "asked on Monday")


def shown_form(client: Client, person: Identity, **typed: object) -> dict[str, object]:
    """What a browser sends: all that the page showed, and what was typed over it."""
    form = client.get(reverse("admin:gallery_identity_change", args=[person.pk])).context["adminform"].form
    sent: dict[str, object] = {}
    for name in form.fields:
        field, value = form[name], form[name].value()
        if form.fields[name].show_hidden_initial and f'name="{field.html_initial_name}"' in str(field):
            sent[field.html_initial_name] = "" if value is None else str(value)
        if value not in (None, False):
            sent[name] = str(value)
    return sent | typed


def test_a_form_that_was_open_for_long_takes_nothing_back(root: Client, people: MakePeople) -> None:
    person = people(1)[0]
    address = reverse("admin:gallery_identity_change", args=[person.pk])
    assert 'name="initial-name"' in page_of(root, person)
    form = shown_form(root, person, consent="signed")
    assert form["initial-name"] == person.name
    editing.update(identity=person, actor=ANNA, name="Ada", hidden=True, metadata={"team": 7})
    answer = root.post(address, form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    person.refresh_from_db()
    assert (person.name, person.hidden, person.metadata) == ("Ada", True, {"team": 7})
    assert person.consent == "signed"


def test_two_who_write_the_same_field_are_told(root: Client, people: MakePeople) -> None:
    person = people(1)[0]
    form = shown_form(root, person, name="Eve")
    editing.update(identity=person, actor=ANNA, name="Ada")
    answer = root.post(reverse("admin:gallery_identity_change", args=[person.pk]), form)
    assert "Somebody else changed this meanwhile" in answer.content.decode()
    person.refresh_from_db()
    assert person.name == "Ada"


def test_an_edit_that_is_refused_is_not_told_as_a_success(root: Client, people: MakePeople) -> None:
    person, other = people(2)
    form = shown_form(root, person, external_id="emp-new")
    taken = editing.update(identity=other, actor=ANNA, external_id="emp-new")
    assert taken is not None
    page = root.post(reverse("admin:gallery_identity_change", args=[person.pk]), form, follow=True).content.decode()
    assert "emp-new" in page
    assert "successfully" not in page


def test_portraits_are_moved_split_rejected_deleted_and_restored(root: Client, people: MakePeople) -> None:
    person, other = people(2, portraits=6)
    keys = [str(portrait.pk) for portrait in person.portraits.order_by("sha256")]

    def owner(key: str) -> Portrait:
        return Portrait.objects.select_related("identity").get(pk=key)

    assert "Choose some portraits first." in do(root, "portraits", person, deed="move", to=other.pk)
    assert "Choose a person" in do(root, "portraits", person, deed="move", portraits=keys[0], to="nobody")
    do(root, "portraits", person, deed="move", portraits=keys[:2], to=other.pk)
    assert {owner(key).identity for key in keys[:2]} == {other}
    do(root, "portraits", person, deed="split", portraits=keys[2], name="Somebody Else")
    assert owner(keys[2]).identity.name == "Somebody Else"
    do(root, "portraits", person, deed="reject", portraits=keys[3])
    assert owner(keys[3]).identity.kind == "unknown"
    assert person.rejections.count() == 1
    do(root, "portraits", person, deed="delete", portraits=keys[4])
    assert owner(keys[4]).deleted_at is not None
    assert "Deleted portraits" in page_of(root, person)
    do(root, "portraits", person, deed="restore", portraits=keys[4])
    assert owner(keys[4]).deleted_at is None
    for change in Change.objects.filter(undone_by=None).exclude(action="undo").order_by("-pk"):
        journal.undo(change=change, actor=ANNA) if not hasattr(change, "undone_by") else None
    assert {owner(key).identity for key in keys} == {person}, "all of it was undone"


def test_a_foreign_portrait_cannot_be_taken_along(root: Client, people: MakePeople) -> None:
    person, other = people(2)
    theirs = other.portraits.first()
    assert theirs is not None
    assert "Choose some portraits first." in do(root, "portraits", person, deed="delete", portraits=theirs.pk)
    theirs.refresh_from_db()
    assert theirs.deleted_at is None


def test_a_merge_by_the_page_and_its_undo(root: Client, people: MakePeople, other_collection: Collection) -> None:
    person, other = people(2)
    foreign = Identity.objects.create(collection=other_collection, name="Foreign")
    assert "Choose a person of the same collection" in do(root, "edit", person, deed="merge", to=foreign.pk)
    page = do(root, "edit", person, deed="merge", to=other.pk)
    assert "is merged into" in page
    assert other.portraits.count() == 4
    assert f"merged into {other.name}" in page_of(root, person)
    root.post(reverse("admin:gallery_change_undo", args=[Change.objects.get().pk]))
    assert other.portraits.count() == person.portraits.count() == 2


def test_the_deleted_are_restored_and_not_edited_before(root: Client, people: MakePeople) -> None:
    person = people(1)[0]
    do(root, "edit", person, deed="delete")
    address = reverse("admin:gallery_identity_change", args=[person.pk])
    assert root.post(address, {"name": "x"}).status_code == 403
    assert root.post(reverse("admin:gallery_identity_delete", args=[person.pk]), {"post": "yes"}).status_code == 403
    assert "restore it first" in do(root, "edit", person, deed="rename", name="x")
    assert "Restore: done" in do(root, "edit", person, deed="restore")
    person.refresh_from_db()
    assert person.deleted_at is None


def test_whom_to_move_to_is_picked_by_name(root: Client, people: MakePeople, other_collection: Collection) -> None:
    person, other, gone = people(3, name="Twin")
    editing.delete(identity=gone, actor=ANNA)
    Identity.objects.create(collection=other_collection, name="Twin")
    asked = {"q": "twi", "collection": str(person.collection_id), "not": str(person.pk)}
    found = root.get(reverse("admin:gallery_identity_pick"), asked)
    assert [each.pk for each in found.context["people"]] == [other.pk]
    assert root.get(reverse("admin:gallery_identity_pick"), asked | {"collection": "x", "not": "y"}).status_code == 200


def choose(client: Client, action: str, chosen: list[Identity], **more: object) -> str:
    form = {"action": action, "_selected_action": [str(each.pk) for each in chosen], **more}
    return client.post(reverse(GRID), form, follow=True).content.decode()


def test_many_are_hidden_after_a_look(root: Client, people: MakePeople) -> None:
    chosen = people(3)
    page = choose(root, "hide_people", chosen[:2])
    assert "Hide: 2 people." in page
    assert not Identity.objects.filter(hidden=True).exists(), "nothing is done before it is confirmed"
    ids = ",".join(str(person.pk) for person in chosen[:2])
    root.post(reverse("admin:gallery_identity_bulk"), {"deed": "hide", "ids": ids})
    assert set(Identity.objects.filter(hidden=True)) == set(chosen[:2])
    assert Change.objects.filter(action="hide").count() == 2


def test_above_some_a_job_does_it(root: Client, people: MakePeople, other_collection: Collection) -> None:
    chosen = people(25, portraits=0)
    page = choose(root, "delete_people", chosen[:1], select_across="1")
    assert "Delete: 25 people." in page
    assert "a job does it" in page
    ids = ",".join([*(str(person.pk) for person in chosen), str(uuid4())])
    page = root.post(reverse("admin:gallery_identity_bulk"), {"deed": "delete", "ids": ids}, follow=True)
    job = Job.objects.get()
    assert page.redirect_chain[-1][0] == reverse("admin:jobs_job_change", args=[job.pk])
    assert not Identity.objects.filter(deleted_at__isnull=False).exists()
    for item in job.items.all():
        run_item(item.pk)  # as a worker does
    assert Identity.objects.filter(deleted_at__isnull=False).count() == 25
    assert job.items.filter(state="done").count() == 25
    missing = job.items.get(index=25)
    assert (missing.state, missing.error_code) == ("failed", "not_found")
    assert "erased meanwhile" in root.get(reverse("admin:jobs_job_change", args=[job.pk])).content.decode()
    assert set(Change.objects.values_list("actor", flat=True)) == {"user root"}


def test_a_full_queue_is_told(root: Client, people: MakePeople, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise QueueFullError("The queue is full: wait a while.")

    monkeypatch.setattr("portrait.console.bulk.create_job", full)
    ids = ",".join(str(person.pk) for person in people(21, portraits=0))
    page = root.post(reverse("admin:gallery_identity_bulk"), {"deed": "hide", "ids": ids}, follow=True)
    assert "The queue is full" in page.content.decode()


def test_no_job_names_who_was_erased(root: Client, people: MakePeople) -> None:
    chosen = people(21, portraits=0)
    ids = ",".join(str(person.pk) for person in chosen)
    root.post(reverse("admin:gallery_identity_bulk"), {"deed": "hide", "ids": ids})
    job, gone = Job.objects.get(), chosen[3]
    run_item(job.items.get(index=3).pk)
    assert set(rows_of("jobs.Job", [gone.pk])) == {job}
    delete_identity(identity=gone)
    told = Job.objects.filter(pk=job.pk).values_list("parameters", "items__result")
    assert str(gone.pk) not in str(list(told))
    assert not rows_of("jobs.Job", [gone.pk]).exists()
    for item in job.items.exclude(index=3):
        run_item(item.pk)
    hidden = Identity.objects.filter(hidden=True).values_list("pk", flat=True)
    assert set(hidden) == {person.pk for person in chosen} - {gone.pk}, "the others kept their places"


def test_a_merge_of_several_by_the_grid(root: Client, people: MakePeople) -> None:
    first, second, third = people(3)
    assert "Choose two people or more" in choose(root, "merge_people", [first])
    page = choose(root, "merge_people", [first, second, third])
    assert "These 3 become one person." in page
    ids = ",".join(str(person.pk) for person in (first, second, third))
    bulk = reverse("admin:gallery_identity_bulk")
    root.post(bulk, {"deed": "merge", "ids": ids, "into": str(uuid4())})
    assert not Change.objects.exists()
    root.post(bulk, {"deed": "merge", "ids": ids, "into": str(second.pk)})
    assert second.portraits.count() == 6
    assert Change.objects.get().action == "merge"
