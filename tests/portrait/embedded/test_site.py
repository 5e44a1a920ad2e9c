"""What a site makes before it starts."""

from dataclasses import replace
from pathlib import Path

from django.conf import settings

from portrait.embedded.site import _make_source_folder


def test_the_default_source_folder_is_made_for_its_owner_only_and_kept(tmp_path: Path) -> None:
    folder = (tmp_path / "var" / "sources").resolve()
    environment = replace(settings.PORTRAIT, var=tmp_path / "var", source_dirs=[folder])
    _make_source_folder(environment)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "clip.mp4").write_bytes(b"x")
    _make_source_folder(environment)
    assert (folder / "clip.mp4").exists()


def test_source_folders_that_somebody_named_are_left_to_him(tmp_path: Path) -> None:
    environment = replace(settings.PORTRAIT, var=tmp_path / "var", source_dirs=[(tmp_path / "mine").resolve()])
    _make_source_folder(environment)
    assert list(tmp_path.iterdir()) == []
