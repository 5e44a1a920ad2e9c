"""The first-generation API driven by its OpenAPI document: whatever it allows or forbids, no call ends in a 5xx,
and every answer is as the document says."""

import contextlib
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import set_urlconf
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from rest_framework.test import APIClient
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection
from tests.portrait.compat.old_client import FACES, UPDATE, call, data_uri, sample

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.portrait.compat.urls")]

EXAMPLES = 25
NO_MODEL = (503, "model_not_installed")
"""What is answered, rightly, where only the small models of our own are there."""
CONFORMANCE = (status_code_conformance, content_type_conformance, response_schema_conformance)


def document() -> OpenApiSchema:
    return schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())


def test_no_call_ends_in_a_server_error_or_otherwise_than_told(collection: Collection) -> None:
    _, key = create_api_key(name="schemathesis", scope=Scope.ADMIN)
    schema = document()
    operations = [result.ok() for result in schema.include(path_regex="^/(?!api/)").get_all_operations()]
    answered = 0
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @hypothesis_settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def drive(case: schemathesis.Case) -> None:
                nonlocal answered
                response = case.call(headers={"Authorization": f"Api-Key {key}"})
                answered += 1
                if response.status_code == NO_MODEL[0] and response.json()["code"] == NO_MODEL[1]:
                    return
                case.validate_response(response, checks=[not_a_server_error, *CONFORMANCE])

            with contextlib.suppress(Unsatisfiable):  # nothing can be forbidden where nothing is asked
                drive()
    assert len(operations) == 12
    assert answered > len(operations) * EXAMPLES


@pytest.mark.parametrize("metadata", ["example.org/1", "", None, 5, ["x"], {"team": {"a": None}}])
def test_a_recognised_face_is_told_as_the_document_says(
    metadata: Any, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
) -> None:
    """Metadata are whatever was stored."""
    call(enroller, UPDATE, [sample("p1", pictures["collins"], metadata=metadata)], collection=collection)
    _, key = create_api_key(name="schemathesis", scope=Scope.ADMIN)
    case = document()[FACES]["POST"].Case(
        body={"image": data_uri(pictures["small"])},
        query={"collection": collection.name},
        headers={"Authorization": f"Api-Key {key}"},
        media_type="application/json",
    )
    response = case.call()
    assert [each["id"] for each in response.json()] == ["p1"]
    assert response.json()[0]["metadata"] == (metadata or "")
    case.validate_response(response, checks=[not_a_server_error, *CONFORMANCE])


def test_the_first_generation_changes_nothing_that_is_told_of_our_own_api(client: Client, settings: Any) -> None:
    """Two shapes of one name would be told as one of them."""
    with_it = client.get("/api/schema/?format=json").json()
    settings.ROOT_URLCONF = "portrait.urls"
    set_urlconf(None)
    without = client.get("/api/schema/?format=json").json()
    assert len(with_it["paths"]) > len(without["paths"])
    for path, told in without["paths"].items():
        assert with_it["paths"][path] == told
    for name, told in without["components"]["schemas"].items():
        assert with_it["components"]["schemas"][name] == told, name
    added = set(with_it["components"]["schemas"]) - set(without["components"]["schemas"])
    assert added
    assert all(name.startswith("Smartav") for name in added), added
