"""The admin: enrolment by upload, faces in the list, keys; no query per row."""

import io
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image
from rest_framework.test import APIClient

from portrait.core.models import ApiKey
from portrait.demo.photos import COLLINS, HOPPER, built_in
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services import photos
from portrait.gallery.services.identities import delete_identity
from portrait.jobs.models import Job, JobItem

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clerk() -> Iterator[Client]:
    User.objects.create_superuser("root", password="pw")
    client = Client()
    assert client.login(username="root", password="pw")
    return client


def people(collection: Collection, count: int) -> None:
    for number in range(count):
        identity = Identity.objects.create(collection=collection, name=f"Person {number}")
        for index in range(3):
            Portrait.objects.create(
                identity=identity,
                image="portraits/none.jpg",
                thumbnail="thumbnails/none.jpg",
                width=10,
                height=10,
                box=[0, 0, 5, 5],
                detector="test",
                score=1,
                quality={"score": 0.9, "reasons": []},
                sha256=f"{index:064}",
            )


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_no_query_per_row(clerk: Client, collection: Collection) -> None:
    pages = [reverse(f"admin:{name}_changelist") for name in ("gallery_identity", "gallery_collection", "jobs_job")]
    people(collection, 2)
    JobItem.objects.create(job=Job.objects.create(kind="enrol", queue="ingest"), index=0)
    clerk.get(pages[0])
    few = [queries(clerk, page) for page in pages]
    people(collection, 30)
    for _ in range(30):
        JobItem.objects.create(job=Job.objects.create(kind="enrol", queue="ingest"), index=0)
    assert [queries(clerk, page) for page in pages] == few
    first = Identity.objects.filter(collection=collection).first()
    assert first is not None
    people_page = clerk.get(pages[0]).content.decode()
    assert people_page.count("/thumbnail/") == 32, "a face each; the others are on the person's page"
    assert (
        clerk.get(reverse("admin:gallery_identity_change", args=[first.pk])).content.decode().count("/thumbnail/") == 4
    )


def post(client: Client, identity: Identity | None, collection: Collection, **values: object) -> str:
    url = (
        reverse("admin:gallery_identity_change", args=[identity.pk])
        if identity
        else reverse("admin:gallery_identity_add")
    )
    inline = {f"portraits-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")}
    form = {"collection": collection.pk, "name": COLLINS, "external_id": "", "metadata": "{}", "kind": "known"}
    answer = client.post(url, form | inline | values, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_person_is_enrolled_by_upload(clerk: Client, collection: Collection) -> None:
    given = built_in()
    upload = SimpleUploadedFile("collins.jpg", given.people[COLLINS][0].data, "image/jpeg")
    cat = SimpleUploadedFile("cat.jpg", given.probes[-1].data, "image/jpeg")
    page = post(clerk, None, collection, photos=[upload, cat])
    assert "Enrolled: collins.jpg." in page
    assert "Refused: cat.jpg. No face was found" in page
    identity = Identity.objects.get(collection=collection)
    portrait = identity.portraits.get()
    page = clerk.get(reverse("admin:gallery_identity_change", args=[identity.pk])).content.decode()
    face = reverse("admin:gallery_portrait_face", args=[portrait.pk])
    assert face in page
    assert max(Image.open(io.BytesIO(b"".join(clerk.get(face).streaming_content))).size) <= 160
    picture = clerk.get(f"/api/v1/portraits/{portrait.pk}/thumbnail")
    assert max(Image.open(io.BytesIO(b"".join(picture.streaming_content))).size) <= 160
    assert Client().get(f"/api/v1/portraits/{portrait.pk}/thumbnail").status_code == 401


def test_the_networks_run_outside_the_transaction(
    clerk: Client, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = photos.face_pipeline

    def watched() -> object:
        seen.append(connection.in_atomic_block)
        return real()

    monkeypatch.setattr(photos, "face_pipeline", watched)
    post(clerk, None, collection, photos=[SimpleUploadedFile("a.jpg", built_in().people[COLLINS][0].data)])
    assert seen == [False]


def test_the_default_collection_stays(clerk: Client) -> None:
    default = Collection.objects.get(name="default")
    url = reverse("admin:gallery_collection_change", args=[default.pk])
    clerk.post(url, {"name": "renamed", "description": "x", "threshold": ""})
    assert clerk.post(reverse("admin:gallery_collection_delete", args=[default.pk]), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [str(default.pk)], "post": "yes"}
    clerk.post(reverse("admin:gallery_collection_changelist"), action)
    default.refresh_from_db()
    assert (default.name, default.description) == ("default", "x")


def test_nobody_hands_out_a_key_that_may_do_more_than_he(collection: Collection) -> None:
    keeper = User.objects.create_user("keeper", password="pw", is_staff=True)
    keeper.user_permissions.set(Permission.objects.filter(codename__in=["add_apikey", "view_apikey"]))
    client = Client()
    client.login(username="keeper", password="pw")
    address = reverse("admin:core_apikey_add")
    assert client.post(address, {"name": "mine", "scope": "read"}).status_code == 403, "he may not see people himself"
    keeper.user_permissions.add(*Permission.objects.filter(codename__in=["view_identity", "view_portrait"]))
    for scope in ("admin", "enrol"):
        client.post(address, {"name": "mine", "scope": scope})
        assert not ApiKey.objects.filter(name="mine").exists()
    client.post(address, {"name": "mine", "scope": "read"})
    assert ApiKey.objects.get(name="mine").scope == "read"


def test_nobody_is_added_without_a_face_where_pictures_were_given(clerk: Client, collection: Collection) -> None:
    cat = SimpleUploadedFile("cat.jpg", built_in().probes[-1].data)
    page = post(clerk, None, collection, photos=[cat, SimpleUploadedFile("text.jpg", b"hello")])
    assert "cat.jpg: No face was found in the picture." in page
    assert "text.jpg: " in page
    assert not Identity.objects.filter(collection=collection).exists()
    post(clerk, None, collection)
    assert Identity.objects.filter(collection=collection).count() == 1


def test_several_faces_are_refused_unless_the_largest_is_meant(clerk: Client, collection: Collection) -> None:
    both = next(photo.data for photo in built_in().probes if photo.name == "both in one picture")
    page = post(clerk, None, collection, name=HOPPER, photos=[SimpleUploadedFile("both.jpg", both)])
    assert "The picture holds 2 faces: tick &#x27;Take the largest face&#x27;" in page
    identity = Identity.objects.create(collection=collection, name=HOPPER)
    page = post(clerk, identity, collection, name=HOPPER, photos=[SimpleUploadedFile("both.jpg", both)], largest="on")
    assert "Enrolled: both.jpg." in page


def test_a_key_is_shown_once_and_works_until_it_is_revoked(clerk: Client, collection: Collection) -> None:
    form = {"name": "door", "scope": "read", "collections": [collection.pk]}
    page = clerk.post(reverse("admin:core_apikey_add"), form, follow=True).content.decode()
    key = page.split("The key is ")[1].split(" ")[0]
    assert APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}").get("/api/v1/identities").status_code == 200
    row = ApiKey.objects.get(name="door")
    assert row.collection_ids == [collection.pk]
    listing = clerk.get(reverse("admin:core_apikey_changelist")).content.decode()
    assert key not in listing
    action = {"action": "revoke", "_selected_action": [str(row.pk)]}
    clerk.post(reverse("admin:core_apikey_changelist"), action)
    assert APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}").get("/api/v1/identities").status_code == 401


def test_every_page_of_the_admin_opens(clerk: Client, collection: Collection) -> None:
    people(collection, 1)
    job = Job.objects.create(kind="enrol", queue="ingest")
    JobItem.objects.create(job=job, index=0)
    identity = Identity.objects.get(collection=collection)
    pages = [
        reverse("admin:index"),
        *(reverse(f"admin:{name}_changelist") for name in ("core_apikey", "gallery_embeddingmodel")),
        reverse("admin:gallery_collection_add"),
        reverse("admin:gallery_collection_change", args=[collection.pk]),
        reverse("admin:gallery_identity_change", args=[identity.pk]),
        reverse("admin:jobs_job_change", args=[job.pk]),
        reverse("admin:core_apikey_add"),
    ]
    for page in pages:
        assert clerk.get(page).status_code == 200, page


def test_deleting_in_the_admin_can_be_taken_back_until_it_is_erased(clerk: Client, collection: Collection) -> None:
    upload = SimpleUploadedFile("collins.jpg", built_in().people[COLLINS][0].data, "image/jpeg")
    post(clerk, None, collection, photos=[upload])
    portrait = Portrait.objects.get(identity__collection=collection)
    storage, names = portrait.image.storage, [portrait.image.name, portrait.thumbnail.name]
    assert all(storage.exists(name) for name in names)
    url = reverse("admin:gallery_identity_delete", args=[portrait.identity_id])
    clerk.post(url, {"post": "yes"})
    identity = Identity.objects.get(pk=portrait.identity_id)
    assert identity.deleted_at is not None
    assert clerk.get(f"/api/v1/portraits/{portrait.pk}/thumbnail").status_code == 404
    clerk.post(reverse("admin:gallery_identity_edit", args=[identity.pk]), {"deed": "restore"})
    assert clerk.get(f"/api/v1/portraits/{portrait.pk}/thumbnail").status_code == 200
    assert all(storage.exists(name) for name in names)
    delete_identity(identity=identity)
    assert not any(storage.exists(name) for name in names)
