"""Journal, review, jobs, schedule, the front page."""

import re

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from portrait.console.reviews import mark_of
from portrait.curation.models import Kind, State, Suggestion, fingerprint_of
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services import editing
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.privacy.models import ErasureProof, SubjectExport
from portrait.transfer.models import Import, ImportFile, ImportPart
from portrait.upkeep.schedule import ENTRIES, ensure_schedule
from tests.portrait.console.conftest import MakePeople, SignIn

pytestmark = pytest.mark.django_db(transaction=True)

ANNA = Actor("user anna")
VITAL = next(entry for entry in ENTRIES if entry.vital)
OTHER = next(entry for entry in ENTRIES if not entry.vital)


def test_the_journal_tells_and_takes_back(root: Client, people: MakePeople) -> None:
    first, second = people(2)
    old = first.name
    rename = editing.update(identity=first, actor=ANNA, name="Ada")
    editing.update(identity=second, actor=ANNA, hidden=True)
    address = reverse("admin:gallery_change_changelist")
    page = root.get(address).content.decode()
    assert f"name: {old} → Ada" in page
    assert "user anna" in page
    alone = root.get(f"{address}?person={first.pk}").context["cl"].page.rows
    assert [row.action for row in alone] == ["rename"]
    assert [row.action for row in root.get(f"{address}?action=hide").context["cl"].page.rows] == ["hide"]
    later = editing.update(identity=first, actor=ANNA, name="Eve")
    assert rename is not None
    assert later is not None
    answer = root.post(reverse("admin:gallery_change_undo", args=[rename.pk]), follow=True).content.decode()
    assert f"undo change #{later.pk} first" in answer
    first.refresh_from_db()
    assert first.name == "Eve"


def suggestion(collection: Collection, pair: list[Identity], kind: Kind = Kind.SAME_PERSON) -> Suggestion:
    keys = [person.pk for person in pair]
    return Suggestion.objects.create(
        collection=collection, kind=kind, fingerprint=fingerprint_of(kind, keys), identities=keys, score=0.8
    )


def answer(client: Client, row: Suggestion, **said: str) -> str:
    page = client.post(reverse("admin:curation_suggestion_answer", args=[row.pk]), said, follow=True)
    row.refresh_from_db()
    return page.content.decode()


def test_questions_are_answered_and_an_answer_is_taken_back(
    root: Client, people: MakePeople, collection: Collection
) -> None:
    first, second, third, fourth = people(4)
    row, other = suggestion(collection, [first, second]), suggestion(collection, [third, fourth])
    assert "Type a name" in answer(root, row, answer="name", name=" ")
    assert "There is no such answer." in answer(root, row, answer="perhaps")
    assert row.state == State.OPEN
    page = answer(root, row, answer="name", name="Ada")
    assert row.state == State.CONFIRMED
    assert "Answered last" in page
    assert Identity.objects.filter(name="Ada", merged_into=None).count() == 1
    assert "already" in answer(root, row, answer="no")
    root.post(reverse("admin:curation_suggestion_undo", args=[row.pk]))
    row.refresh_from_db()
    assert row.state == State.OPEN
    assert not Identity.objects.exclude(merged_into=None).exists()
    answer(root, other, answer="no")
    assert other.state == State.REJECTED
    shown = root.get(reverse("admin:curation_suggestion_changelist")).context["cl"].page.rows
    assert [each.pk for each in shown] == [row.pk]
    done = root.get(reverse("admin:curation_suggestion_changelist") + "?state=rejected").context["cl"].page.rows
    assert [each.pk for each in done] == [other.pk]


def test_a_cluster_tells_how_many_become_one_and_shows_them_all(
    root: Client, people: MakePeople, collection: Collection
) -> None:
    many = people(60, portraits=0)
    row = suggestion(collection, many, Kind.CLUSTER)
    people(2)
    page = root.get(reverse("admin:curation_suggestion_changelist")).content.decode()
    assert "Same person: merge all 60" in page
    assert "and 52 more" in page
    everybody = reverse("admin:gallery_identity_changelist") + f"?question={row.pk}"
    assert everybody in page
    first = root.get(everybody).context["cl"]
    second = root.get(reverse("admin:gallery_identity_changelist") + first.next_url).context["cl"]
    assert {each.pk for cl in (first, second) for each in cl.page.rows} == {each.pk for each in many}
    assert "Other people are in question by now" in answer(root, row, answer="yes", people="8")
    assert row.state == State.OPEN
    answer(root, row, answer="yes", people=mark_of(row))
    assert row.state == State.CONFIRMED


def job(state: ItemState, count: int = 3) -> Job:
    made = Job.objects.create(kind="enrol", queue="ingest")
    later = timezone.now() + timezone.timedelta(days=1)
    JobItem.objects.bulk_create(JobItem(job=made, index=each, state=state, paused_until=later) for each in range(count))
    return made


def test_a_job_is_cancelled_and_retried_by_its_page(root: Client) -> None:
    waiting = job(ItemState.WAITING)
    root.post(reverse("admin:jobs_job_cancel", args=[waiting.pk]))
    assert waiting.items.filter(state=ItemState.CANCELLED).count() == 3
    failed = job(ItemState.FAILED)
    root.post(reverse("admin:jobs_job_retry", args=[failed.pk]))
    assert failed.items.filter(state=ItemState.FAILED).count() == 3, "nothing of it can be retried"
    failed.items.update(result={"retryable": True}, error_code="unreachable", error_message="Nothing answered.")
    page = root.get(reverse("admin:jobs_job_change", args=[failed.pk])).content.decode()
    assert "Retry 3" in page
    assert "Nothing answered." in page
    root.post(reverse("admin:jobs_job_retry", args=[failed.pk]))
    assert failed.items.filter(state=ItemState.WAITING).count() == 3


def test_a_jobs_items_come_in_pages(root: Client) -> None:
    many = job(ItemState.DONE, 120)
    address = reverse("admin:jobs_job_change", args=[many.pk])
    seen, query = [], "?state=done"
    while query:
        page = root.get(address + query)
        seen += [item.index for item in page.context["items"].rows]
        query = f"?state=done&_after={page.context['items'].next}" if page.context["items"].next else ""
    assert seen == list(range(120))
    assert root.post(address, {"kind": "x"}).status_code == 403, "a job is not edited"


def edit(client: Client, task: PeriodicTask, **values: object) -> str:
    form = {"enabled": "on", "interval": task.interval_id or "", "crontab": "", **values}
    address = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
    page = client.post(address, {name: value for name, value in form.items() if value is not None}, follow=True)
    task.refresh_from_db()
    return page.content.decode()


def test_the_schedule_is_edited_and_stays_edited(root: Client) -> None:
    ensure_schedule()
    task = PeriodicTask.objects.get(name=OTHER.name)
    nightly = CrontabSchedule.objects.create(minute="0", hour="3")
    edit(root, task, interval="", crontab=nightly.pk)
    assert (task.interval, task.crontab) == (None, nightly)
    assert "Choose an interval or a crontab" in edit(root, task, interval="", crontab="")
    edit(root, task, enabled=None, interval="", crontab=nightly.pk)
    assert not task.enabled
    ensure_schedule()
    task.refresh_from_db()
    assert (task.enabled, task.crontab) == (False, nightly)


def test_nobody_switches_off_what_frames_depend_on_by_mistake(root: Client) -> None:
    ensure_schedule()
    task = PeriodicTask.objects.get(name=VITAL.name)
    assert "the service depends on" in edit(root, task, enabled=None)
    assert task.enabled
    rarely = IntervalSchedule.objects.create(every=30, period=IntervalSchedule.DAYS)
    assert "much less often" in edit(root, task, interval=rarely.pk)
    assert task.interval != rarely
    action = {"action": "switch_off", "_selected_action": [str(each.pk) for each in PeriodicTask.objects.all()]}
    page = root.post(reverse("admin:django_celery_beat_periodictask_changelist"), action, follow=True)
    assert "stays on" in page.content.decode()
    off = set(PeriodicTask.objects.filter(enabled=False).values_list("name", flat=True))
    assert off == {entry.name for entry in ENTRIES if not entry.vital}
    page = edit(root, task, enabled=None, sure="on")
    assert not task.enabled
    assert "is off now" in page
    assert "OFF: the service depends on it" in page
    assert root.post(reverse("admin:django_celery_beat_periodictask_add"), {}).status_code == 403
    gone = reverse("admin:django_celery_beat_periodictask_delete", args=[task.pk])
    assert root.post(gone, {"post": "yes"}).status_code == 403


def test_no_task_runs_more_than_once_a_second(root: Client) -> None:
    ensure_schedule()
    task = PeriodicTask.objects.get(name=VITAL.name)
    flood = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.MICROSECONDS)
    assert "At most once a second" in edit(root, task, interval=flood.pk, sure="on")
    assert task.interval != flood
    add, before = reverse("admin:django_celery_beat_intervalschedule_add"), IntervalSchedule.objects.count()
    assert "At most once a second" in root.post(add, {"every": 999_999, "period": "microseconds"}).content.decode()
    assert IntervalSchedule.objects.count() == before


def test_an_interval_is_made_once(root: Client) -> None:
    add = reverse("admin:django_celery_beat_intervalschedule_add")
    root.post(add, {"every": 47, "period": "minutes"})
    page = root.post(add, {"every": 47, "period": "minutes"}).content.decode()
    assert "There is this interval already" in page
    assert IntervalSchedule.objects.filter(every=47, period="minutes").count() == 1


def test_the_zip_about_a_person_is_a_link_on_its_page(root: Client, people: MakePeople) -> None:
    person = people(1, portraits=0)[0]
    asked = {"deed": "export"}
    page = root.post(reverse("admin:gallery_identity_leave", args=[person.pk]), asked, follow=True).content.decode()
    assert "A job makes it" in page
    export = SubjectExport.objects.get()
    run_item(JobItem.objects.get(job__subject_id=person.pk).pk)
    shown = root.get(reverse("admin:privacy_subjectexport_change", args=[export.pk])).content.decode()
    address = re.search(r'href="(/api/v1/subject-exports/[^"]+)"', shown)
    assert address is not None
    answered = root.get(address[1])
    assert answered.status_code == 200
    assert answered["Content-Type"] == "application/zip"


def test_erasing_needs_the_name_and_a_superuser(root: Client, sign_in: SignIn, people: MakePeople) -> None:
    person = people(1, portraits=0)[0]
    address = reverse("admin:gallery_identity_leave", args=[person.pk])
    clerk = sign_in("gallery.view_identity", "gallery.change_identity", "gallery.delete_identity")
    for deed in ("erase", "export"):
        assert clerk.post(address, {"deed": deed, "name": person.name}).status_code == 403
    assert root.get(address).status_code == 405
    assert "type the name" in root.post(address, {"deed": "erase", "name": "x"}, follow=True).content.decode()
    assert Identity.objects.filter(pk=person.pk).exists()
    page = root.post(address, {"deed": "erase", "name": person.name}, follow=True)
    assert not Identity.objects.filter(pk=person.pk).exists()
    assert page.redirect_chain[-1][0].endswith(f"{ErasureProof.objects.get().pk}/change/")


def test_the_front_page_shows_what_waits(root: Client, people: MakePeople, collection: Collection) -> None:
    suggestion(collection, people(2))
    job(ItemState.WAITING)
    failed = job(ItemState.FAILED)
    Job.objects.filter(pk=failed.pk).update(finished_at=timezone.now())
    page = root.get(reverse("admin:index"))
    text = page.content.decode()
    assert "These two may be the same person" in text
    assert "0 of 3" in text
    assert page.context["health"]["database"] == "ok"
    assert str(page.context["tiles"][0].counted) == "2"
    items = {item["title"]: item for group in page.context["sidebar_navigation"] for item in group["items"]}
    assert (items["Review"]["badge"], items["Jobs"]["badge"]) == ("1", "1")


def test_who_may_only_look_has_no_action(sign_in: SignIn) -> None:
    """An action that names no right would be open to everybody who may see the list."""
    for model, page in admin.site._registry.items():
        clerk = sign_in(f"{model._meta.app_label}.view_{model._meta.model_name}")
        request = RequestFactory().get("/")
        request.user = _user_of(clerk)
        assert not page.get_actions(request), f"{model._meta.label}: {list(page.get_actions(request))}"


def _user_of(client: Client) -> object:
    from django.contrib.auth.models import User

    return User.objects.get(pk=client.session["_auth_user_id"])


def test_an_answer_is_about_those_who_were_shown(root: Client, people: MakePeople, collection: Collection) -> None:
    one, two, three = people(3)
    row = suggestion(collection, [one, two])
    page = root.get(reverse("admin:curation_suggestion_changelist")).content.decode()
    mark = re.search(r'name="people" value="(\w+)"', page)
    assert mark is not None
    Suggestion.objects.filter(pk=row.pk).update(identities=[one.pk, three.pk])
    assert "Other people are in question by now" in answer(root, row, answer="yes", people=mark[1])
    assert row.state == State.OPEN
    Suggestion.objects.filter(pk=row.pk).update(identities=[one.pk, two.pk])
    answer(root, row, answer="yes", people=mark[1])
    assert row.state == State.CONFIRMED


@pytest.mark.parametrize("kind", ["job", "import"])
def test_what_goes_with_a_job_or_an_import_is_not_told_one_by_one(
    root: Client, collection: Collection, kind: str
) -> None:
    if kind == "job":
        row = Job.objects.create(kind="enrol", queue="ingest")
        JobItem.objects.bulk_create(JobItem(job=row, index=index, state=ItemState.DONE) for index in range(30))
        address = reverse("admin:jobs_job_delete", args=[row.pk])
    else:
        run = Import.objects.create(collection=collection, sealed=True, finished_at=timezone.now())
        part = ImportPart.objects.create(run=run, item=0)
        ImportFile.objects.bulk_create(ImportFile(run=run, part=part, index=n, path=f"{n}.jpg") for n in range(30))
        address = reverse("admin:transfer_import_delete", args=[run.pk])
    page = root.get(address).content.decode()
    assert ("with its items" if kind == "job" else "with what became of each file") in page
    assert "29" not in re.sub(r"[0-9a-f-]{36}", "", page.split("<main")[-1])


def test_pages_are_called_as_in_the_sidebar(root: Client, people: MakePeople) -> None:
    def crumbs(address: str) -> list[str]:
        heading = re.search(r"<h1.*?</h1>", root.get(address).content.decode(), re.DOTALL)
        assert heading is not None
        return re.findall(r"tracking-tight\">\s*(.*?)\s*</", heading[0])

    person, work = people(1)[0], job(ItemState.WAITING)
    assert crumbs(reverse("admin:gallery_identity_changelist")) == ["People"]
    assert crumbs(reverse("admin:gallery_identity_change", args=[person.pk])) == ["People", person.name]
    assert crumbs(reverse("admin:curation_suggestion_changelist")) == ["Review"]
    assert crumbs(reverse("admin:gallery_change_changelist")) == ["Journal"]
    assert crumbs(reverse("admin:jobs_job_change", args=[work.pk])) == ["Jobs", "Enrol photos"]
    assert crumbs(reverse("admin:transfer_import_changelist")) == ["Imports"], "without a place in it: its own name"
    assert len(crumbs(reverse("admin:index"))) == 1
