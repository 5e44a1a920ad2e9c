"""`manage.py camera` from its arguments to its words."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from portrait.cameras.models import Camera, CaptureStatus
from portrait.gallery.models import Collection

pytestmark = pytest.mark.django_db


def camera(*arguments: str) -> str:
    out = StringIO()
    call_command("camera", *arguments, stdout=out)
    return out.getvalue()


def test_a_camera_is_added_listed_without_its_password_and_removed(collection: Collection) -> None:
    added = camera(
        "add", "door", "--collection", collection.name, "--source", "rtsp://admin:geheim@host/x", "--fps", "2.5"
    )
    made = Camera.objects.get()
    assert added.split() == [f"{collection.name}/door", str(made.pk)]
    assert (made.fps, made.enabled, made.collection) == (2.5, True, collection)
    CaptureStatus.objects.update_or_create(
        camera=made, defaults={"state": "paused", "captured": 7, "not_taken": 2, "message": "the disk is nearly full"}
    )
    listed = camera("list")
    for part in (f"{collection.name}/door", "paused", "7 captured, 2 not taken", "admin:***@host", "nearly full"):
        assert part in listed
    assert "geheim" not in listed
    camera("remove", "door", "--yes")
    assert not Camera.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["door", "--source", "file:///etc/passwd"], "write the path itself"),
        (["door", "--collection", "nowhere"], "no collection 'nowhere'"),
        (["no slug!"], "name:"),
        (["door", "--fps", "0"], "fps:"),
        (["door", "--window-s", "9", "--gap-s", "3"], "gap_s"),
        (["door", "--window-mode", "rolling"], "window_mode:"),
        (["taken"], "already"),
    ],
)
def test_what_does_not_fit_is_one_clear_sentence(arguments: list[str], told: str) -> None:
    camera("add", "taken")
    with pytest.raises(CommandError, match=told):
        camera("add", *arguments)
    assert Camera.objects.count() == 1


def test_removing_what_is_not_there_says_so() -> None:
    with pytest.raises(CommandError, match="no camera 'door'"):
        camera("remove", "door", "--yes")
