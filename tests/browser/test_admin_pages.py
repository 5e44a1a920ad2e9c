"""What a team does every day, done in a browser."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from portrait.curation.models import Kind, State, Suggestion, fingerprint_of
from portrait.demo.photos import COLLINS, HOPPER, PhotoSet
from portrait.gallery.models import Collection, Identity, Rejection
from portrait.gallery.services.enrolment import enrol_person
from portrait.jobs.models import ItemState, Job, JobItem
from tests.browser.conftest import PHONE, Visit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two(collection: Collection, photos: PhotoSet) -> tuple[Identity, Identity]:
    """Two people with their faces."""
    made = [
        enrol_person(collection=collection, name=name, photos=[photo.data for photo in photos.people[name]])[0]
        for name in (COLLINS, HOPPER)
    ]
    return made[0], made[1]


def person_page(person: Identity) -> str:
    return f"/admin/gallery/identity/{person.pk}/change/"


def faces_are_shown(visit: Visit) -> None:
    """Every face of the page is a picture that was loaded."""
    broken = "() => [...document.querySelectorAll('img.portrait-face')].every(i => i.complete && i.naturalWidth > 0)"
    visit.page.wait_for_function(broken)


def test_people_are_found_in_the_grid_and_by_photo(
    visit: Visit, two: tuple[Identity, Identity], photos: PhotoSet, tmp_path: Path
) -> None:
    page = visit.open("/admin/gallery/identity/")
    expect(page.locator(".portrait-person")).to_have_count(2)
    faces_are_shown(visit)
    page.fill("#searchbar", "hop")
    page.press("#searchbar", "Enter")
    expect(page.locator(".portrait-person strong")).to_have_text([HOPPER])
    page.click("text=By photo")
    photo = tmp_path / "who.jpg"
    photo.write_bytes(photos.people[HOPPER][0].data)
    page.set_input_files("[name=photo]", photo)
    page.select_option("[name=collection]", str(two[0].collection_id))
    page.click("button:has-text('Search')")
    expect(page.locator(".portrait-person strong").first).to_have_text(HOPPER)
    expect(page.locator(".portrait-person").first).to_contain_text("% alike")
    faces_are_shown(visit)


def test_a_name_is_changed_and_changed_back(visit: Visit, two: tuple[Identity, Identity]) -> None:
    page = visit.open(person_page(two[0]))
    page.fill(".portrait-rename [name=name]", "Eileen")
    page.click("text=Rename")
    expect(page.get_by_text("Renamed to Eileen.")).to_be_visible()
    expect(page.locator(".portrait-change").first).to_contain_text(f"{COLLINS} → Eileen")
    page.click(".portrait-change button:has-text('Undo')")
    expect(page.locator(".portrait-rename [name=name]")).to_have_value(COLLINS)
    expect(page.locator(".portrait-change").first).to_contain_text("undone: renamed")


def test_people_are_merged_and_parted_again(visit: Visit, two: tuple[Identity, Identity]) -> None:
    page = visit.open(person_page(two[0]))
    page.click("text=Merge into …")
    page.locator("#merge-dialog [name=q]").press_sequentially("hopper")
    page.locator("#merge-dialog .portrait-picked").click()
    page.locator("#merge-dialog button:has-text('Merge')").click()
    expect(page.get_by_text(f"{COLLINS} is merged into {HOPPER} now.")).to_be_visible()
    assert Identity.objects.get(pk=two[0].pk).merged_into_id == two[1].pk
    page.click(".portrait-change button:has-text('Undo')")
    expect(page.locator(".portrait-change").first).to_contain_text("undone: merged")
    assert Identity.objects.get(pk=two[0].pk).merged_into_id is None


def test_several_are_hidden_by_the_grid(visit: Visit, two: tuple[Identity, Identity]) -> None:
    page = visit.open("/admin/gallery/identity/")
    expect(page.locator("[data-actions]")).to_be_hidden()
    for box in page.locator(".portrait-choose input").all():
        box.check()
    expect(page.locator("[data-chosen]")).to_have_text("2")
    page.select_option("[data-actions] select", "hide_people")
    page.click("text=Go on")
    expect(page.get_by_text("Hide: 2 people.")).to_be_visible()
    page.click("button:has-text('Hide')")
    expect(page.locator(".portrait-badge", has_text="hidden")).to_have_count(2)


def asked(collection: Collection, pair: list[Identity]) -> Suggestion:
    keys = [person.pk for person in pair]
    mark = fingerprint_of(Kind.SAME_PERSON, keys)
    return Suggestion.objects.create(
        collection=collection, kind=Kind.SAME_PERSON, fingerprint=mark, identities=keys, score=0.8
    )


def test_questions_are_answered_by_keys(
    visit: Visit, two: tuple[Identity, Identity], collection: Collection, photos: PhotoSet
) -> None:
    again, _, _ = enrol_person(collection=collection, name="unknown", photos=[photos.people[COLLINS][0].data])
    Suggestion.objects.all().delete()
    first, second = asked(collection, [two[0], again]), asked(collection, [two[0], two[1]])
    Suggestion.objects.filter(pk=first.pk).update(score=0.9)

    def state(row: Suggestion) -> str:
        row.refresh_from_db()
        return row.state

    page = visit.open("/admin/curation/suggestion/")
    expect(page.locator("[data-question]")).to_have_count(2)
    page.keyboard.press("s")
    expect(page.locator(".portrait-current figcaption").last).to_contain_text(HOPPER)
    page.keyboard.press("n")
    expect(page.locator("[data-question]")).to_have_count(1)
    assert state(second) == State.REJECTED
    page.keyboard.press("u")
    expect(page.locator("[data-question]")).to_have_count(2)
    assert state(second) == State.OPEN
    page.keyboard.press("s")
    page.keyboard.press("s")  # all were skipped: from the first again
    page.keyboard.press("y")
    expect(page.locator(".portrait-last")).to_contain_text("confirmed")
    assert state(first) == State.CONFIRMED
    again.refresh_from_db()
    assert again.merged_into_id == two[0].pk


def chosen_portraits(visit: Visit, person: Identity, count: int) -> Any:
    page = visit.open(person_page(person))
    boxes = page.locator(".portrait-choose input").all()
    for box in boxes[:count]:
        box.check()
    expect(page.locator("[data-chosen]")).to_have_text(str(count))
    return page


def test_enter_in_a_dialog_does_what_the_dialog_says(visit: Visit, two: tuple[Identity, Identity]) -> None:
    person, other = two
    for number in range(2):  # she has one
        more = person.portraits.order_by("created_at")[0]
        more.pk, more.sha256, more._state.adding = uuid4(), f"{number:064}", True
        more.save()
    before = person.portraits.count()
    page = chosen_portraits(visit, person, 1)
    page.keyboard.press("Enter")  # on the box: the form around it has a button that rejects
    page.click("text=New person …")
    page.fill("#split-dialog [name=name]", "Ada")
    page.press("#split-dialog [name=name]", "Enter")
    expect(page.get_by_text("1 portrait(s) belong to a new person now.")).to_be_visible()
    expect(page.locator(".portrait-rename [name=name]")).to_have_value("Ada")
    page = chosen_portraits(visit, person, 1)
    page.click("text=Move to …")
    page.locator("#move-dialog [name=q]").press_sequentially("hopper")
    page.locator("#move-dialog .portrait-picked").wait_for()
    page.press("#move-dialog [name=q]", "Enter")
    expect(page.locator("#move-dialog")).to_be_visible()
    page.locator("#move-dialog .portrait-picked").click()
    page.press("#move-dialog [name=to]", "Enter")
    expect(page.get_by_text(f"1 portrait(s) moved to {other.name}.")).to_be_visible()
    assert not Rejection.objects.exists()
    assert Identity.objects.filter(kind="unknown").count() == 0
    assert person.portraits.count() == before - 2


def test_a_move_that_was_given_up_is_in_nobodys_way(visit: Visit, two: tuple[Identity, Identity]) -> None:
    page = chosen_portraits(visit, two[0], 1)
    page.click("text=Move to …")
    page.locator("#move-dialog [name=q]").press_sequentially("hopper")
    page.locator("#move-dialog .portrait-picked").wait_for()
    page.click("#move-dialog [data-close]")
    page.click("[data-actions] button[value=delete]")
    expect(page.get_by_text("1 portrait(s) deleted.")).to_be_visible()


def test_what_was_skipped_stays_behind(visit: Visit, collection: Collection, two: tuple[Identity, Identity]) -> None:
    others = [Identity.objects.create(collection=collection, name=f"Person {number}") for number in range(4)]
    Suggestion.objects.all().delete()
    rows = [asked(collection, [two[0], other]) for other in others[:3]]
    for place, row in enumerate(rows):
        Suggestion.objects.filter(pk=row.pk).update(score=0.9 - place / 10)
    current = ".portrait-current figcaption"
    page = visit.open("/admin/curation/suggestion/")
    expect(page.locator(current).last).to_contain_text("Person 0")
    page.keyboard.press("s")
    expect(page.locator(current).last).to_contain_text("Person 1")
    page.keyboard.press("n")
    expect(page.locator("[data-question]")).to_have_count(2)
    expect(page.locator(current).last).to_contain_text("Person 2")
    page.keyboard.press("n")
    expect(page.locator("[data-question]")).to_have_count(1)
    expect(page.locator(current)).to_have_count(0)
    page.keyboard.press("y")  # nothing is asked by now: nothing is answered
    page.keyboard.press("s")
    expect(page.locator(current).last).to_contain_text("Person 0")
    states = dict(Suggestion.objects.values_list("pk", "state"))
    assert [states[row.pk] for row in rows] == [State.OPEN, State.REJECTED, State.REJECTED]


def test_many_become_one_only_after_the_number_was_confirmed(visit: Visit, collection: Collection) -> None:
    many = [Identity.objects.create(collection=collection, name=f"Person {number}") for number in range(11)]
    keys = [person.pk for person in many]
    mark = fingerprint_of(Kind.CLUSTER, keys)
    row = Suggestion.objects.create(
        collection=collection, kind=Kind.CLUSTER, fingerprint=mark, identities=keys, score=0.9
    )
    told: list[str] = []
    answers = [False, True]

    def ask(dialog: Any) -> None:
        told.append(dialog.message)
        dialog.accept() if answers.pop(0) else dialog.dismiss()

    visit.page.on("dialog", ask)
    page = visit.open("/admin/curation/suggestion/")
    page.keyboard.press("y")
    row.refresh_from_db()
    assert row.state == State.OPEN
    page.click("text=Same person: merge all 11")
    expect(page.locator(".portrait-last")).to_contain_text("confirmed")
    assert told == ["Make all 11 people one? 8 of them are shown here."] * 2


def test_a_job_is_watched_and_cancelled(visit: Visit, collection: Collection) -> None:
    job = Job.objects.create(kind="enrol", queue="ingest", collection_id=collection.pk)
    later = timezone.now() + timezone.timedelta(days=1)
    JobItem.objects.bulk_create(JobItem(job=job, index=index, paused_until=later) for index in range(120))
    job.items.filter(index=7).update(
        state=ItemState.FAILED, error_code="no_face", error_message="No face was found.", finished_at=timezone.now()
    )
    page = visit.open("/admin/jobs/job/")
    expect(page.locator(".portrait-job")).to_contain_text("1 of 120, 1 failed")
    page.click(".portrait-job strong")
    bar = page.locator("#job-progress [role=progressbar]")
    expect(bar).to_have_attribute("aria-valuenow", "1")
    expect(page.locator(".portrait-item")).to_contain_text("No face was found.")
    job.items.filter(index__gte=60).update(state=ItemState.DONE, finished_at=timezone.now())
    expect(bar).to_have_attribute("aria-valuenow", "61")  # by itself: nobody loads the page again
    page.click("text=Cancel what has not begun")
    expect(page.get_by_text("What had not begun is cancelled.")).to_be_visible()
    expect(page.locator("#job-progress")).to_contain_text("59 cancelled")
    page.click(".portrait-sorting a:has-text('done')")
    expect(page.locator(".portrait-item")).to_have_count(50)
    page.click("a[rel=next]")
    expect(page.locator(".portrait-item")).to_have_count(10)


PAGES = [
    "/admin/",
    "/admin/gallery/identity/",
    "/admin/gallery/identity/add/",
    "/admin/gallery/identity/by-photo/",
    "/admin/curation/suggestion/",
    "/admin/gallery/change/",
    "/admin/jobs/job/",
    "/admin/sightings/sighting/",
    "/admin/cameras/camera/",
    "/admin/django_celery_beat/periodictask/",
    "/admin/core/apikey/",
    "/admin/auth/user/",
    "/admin/gallery/collection/",
    "/admin/gallery/embeddingmodel/",
    "/admin/audit/auditentry/",
]


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_a_phone_shows_every_page_without_scrolling_sideways(
    visit: Visit, two: tuple[Identity, Identity], collection: Collection
) -> None:
    asked(collection, list(two))
    for path in [*PAGES, person_page(two[0])]:
        page = visit.open(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE[0], f"{path} is {width} pixels wide"
        small = page.evaluate(
            """() => [...document.querySelectorAll('.portrait-button, .portrait-choose, .portrait-input')]
                .filter(each => each.offsetParent && each.getBoundingClientRect().height < 40)
                .map(each => each.outerHTML.slice(0, 80))"""
        )
        assert not small, f"{path}: too small for a finger"


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_somebody_signs_in_on_a_phone_and_opens_the_menu(visit: Visit) -> None:
    visit.page.context.clear_cookies()
    page = visit.open("/admin/")
    page.fill("[name=username]", "root")
    page.fill("[name=password]", "pw")
    page.click("button[type=submit]")
    page.wait_for_url("**/admin/")
    page.evaluate("() => { document.querySelector('[x-on\\\\:click*=sidebarMobileOpen]').click() }")
    page.get_by_role("link", name=re.compile("People")).first.click()
    page.wait_for_url("**/admin/gallery/identity/")
