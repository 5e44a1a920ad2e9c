"""The admin's pages of scenes: lists that are searched, and a camera's rule."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from portrait.cameras.models import Camera, Frame
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.grace import grace_began
from portrait.gallery.services.identities import purge_deleted
from portrait.scenes.models import CameraScenes, Caption, SceneObject
from tests.portrait.scenes.told import keep_caption, keep_objects
from tests.portrait.sightings.seen import enrol, make_camera, make_frame, see

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def frame(collection: Collection) -> Frame:
    collins = enrol(collection, "Eileen Collins", "collins")
    made = make_frame(make_camera(collection), "collins")
    see(made, "collins", [collins])
    keep_caption(made, "a woman in an orange suit")
    keep_caption(collins.portraits.get(), "a portrait of a <b>woman</b>")
    keep_objects(made, "person", "tie")
    return made


def page(client: Client, name: str, *args: object, **query: object) -> str:
    answer = client.get(reverse(f"admin:{name}", args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_captions_are_searched_as_in_the_api(root: Client, frame: Frame) -> None:
    shown = page(root, "scenes_caption_changelist", q="suits -portrait")
    assert "a woman in an orange suit" in shown
    assert "portrait of" not in shown
    shown = page(root, "scenes_caption_changelist")
    assert "&lt;b&gt;woman" in shown
    assert "Collins" not in shown
    caption = Caption.objects.get(text="a woman in an orange suit")
    assert "orange suit" in page(root, "scenes_caption_change", caption.pk)


def test_objects_are_searched_by_label(root: Client, frame: Frame) -> None:
    shown = page(root, "scenes_sceneobject_changelist", q="tie")
    assert (shown.count("field-label"), "0.90" in shown) == (1, True)
    assert "8 x 8 px" in page(root, "scenes_sceneobject_change", SceneObject.objects.get(label="tie").pk)
    assert root.get(reverse("frame-scene", args=[frame.pk]), {"format": "png"})["Content-Type"] == "image/png"


def test_nothing_is_added_or_changed_by_hand(root: Client, frame: Frame) -> None:
    for name in ("caption", "sceneobject"):
        assert root.get(reverse(f"admin:scenes_{name}_add")).status_code == 403
    path = reverse("admin:scenes_caption_change", args=[Caption.objects.first().pk])  # type: ignore[union-attr]
    assert root.post(path, {"text": "forged"}).status_code == 403


def test_a_frames_page_shows_what_was_told_of_it(root: Client, frame: Frame) -> None:
    shown = page(root, "cameras_frame_change", frame.pk)
    assert "a woman in an orange suit" in shown
    assert "person 0.90, tie 0.90" in shown
    assert "Eileen Collins" in shown


def test_a_persons_page_is_not_disturbed(root: Client, frame: Frame) -> None:
    assert "Eileen Collins" in page(root, "gallery_identity_change", Identity.objects.get().pk)


@pytest.mark.parametrize(
    ("model", "saved"), [("describe", True), ("default", True), ("blip-base", True), ("yolact-base", False)]
)
def test_a_cameras_rule_is_set_on_its_page(root: Client, frame: Frame, model: str, saved: bool) -> None:
    camera = Camera.objects.get()
    path = reverse("admin:cameras_camera_change", args=[camera.pk])
    fields = ("name", "source", "min_hits", "window_s", "gap_s", "window_mode", "keep_frames_h", "keep_unnamed_h")
    body = {name: getattr(camera, name) for name in fields} | {"enabled": "on"}
    body |= {"status-TOTAL_FORMS": 0, "status-INITIAL_FORMS": 0, "scenes-TOTAL_FORMS": 1, "scenes-INITIAL_FORMS": 0}
    body |= {"scenes-0-camera": camera.pk, "scenes-0-caption_model": model, "scenes-0-every_s": 5}
    answer = root.post(path, body)
    assert (answer.status_code == 302) is saved, answer.content.decode()[-3000:]
    assert CameraScenes.objects.filter(caption_model=model, every_s=5).exists() is saved
    if not saved:
        assert "no model for captioning" in answer.content.decode()


def test_a_person_with_described_portraits_is_deleted(root: Client, frame: Frame) -> None:
    collins = Identity.objects.get(name="Eileen Collins")
    address = reverse("admin:gallery_identity_delete", args=[collins.pk])
    asked = root.get(address).content.decode()
    assert "Are you sure" in asked
    assert "Eileen Collins, with all portraits" in asked
    assert root.post(address, {"post": "yes"}).status_code == 302
    assert Identity.objects.get().deleted_at is not None, "it can be restored"
    Identity.objects.update(deleted_at=grace_began())
    assert purge_deleted() == 1
    assert not Identity.objects.exists()
    assert not Caption.objects.exists()
    assert not SceneObject.objects.exists()


def test_people_with_described_portraits_are_deleted_from_the_list(root: Client, frame: Frame) -> None:
    collins = Identity.objects.get(name="Eileen Collins")
    body = {"action": "delete_selected", "_selected_action": str(collins.pk), "post": "yes"}
    assert root.post(reverse("admin:gallery_identity_changelist"), body).status_code == 302
    assert Identity.objects.get().deleted_at is not None


def test_who_may_not_delete_people_does_not(frame: Frame) -> None:
    user = User.objects.create_user("viewer", password="pw", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_identity"))
    client = Client()
    client.force_login(user)
    collins = Identity.objects.get(name="Eileen Collins")
    assert client.post(reverse("admin:gallery_identity_delete", args=[collins.pk]), {"post": "yes"}).status_code == 403
    assert Identity.objects.exists()
