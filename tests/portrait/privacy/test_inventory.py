"""No table is forgotten: whoever adds one has to say what becomes of a person's data in it."""

import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models
from pgvector.django import HalfVectorField, VectorField

from portrait.gallery.models import Identity
from portrait.privacy.inventory import TABLES, personal, rows_of

PERSONAL_FIELDS = (
    models.JSONField,
    models.TextField,
    models.CharField,
    models.FileField,
    models.BinaryField,
    models.UUIDField,
    models.ForeignKey,
    ArrayField,
    VectorField,
    HalfVectorField,
)


def test_every_table_is_listed() -> None:
    """Any column of these kinds can hold something of a person: then `inventory.TABLES` says what becomes of it."""
    holding = {model._meta.label for model in apps.get_models() if _may_hold(model)}
    missing = holding - set(TABLES)
    assert not missing, f"Say in portrait/privacy/inventory.py what erasure and export do with: {sorted(missing)}"
    gone = set(TABLES) - {model._meta.label for model in apps.get_models()}
    assert not gone, f"These tables are no more: {sorted(gone)}"


def _may_hold(model: type[models.Model]) -> bool:
    return any(isinstance(field, PERSONAL_FIELDS) for field in model._meta.local_fields)


def _leads_to_people(model: type[models.Model]) -> bool:
    return any(
        isinstance(field, models.ForeignKey) and field.related_model is Identity for field in model._meta.local_fields
    )


def test_a_table_that_refers_to_people_is_not_called_nobodys() -> None:
    for model in apps.get_models():
        if _leads_to_people(model):
            assert TABLES[model._meta.label].rows is not None, model._meta.label


@pytest.mark.django_db
def test_every_lookup_works() -> None:
    for label, model, kept in personal():
        assert list(rows_of(label, [])) == []
        assert kept.erased, model
        assert kept.exported, model
