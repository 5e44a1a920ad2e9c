"""The OpenAPI document, and the API driven by it: whatever it allows, no call ends in a 5xx."""

import contextlib
import re

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from rest_framework.test import APIClient
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from portrait.core.models import Scope
from portrait.core.services import create_api_key

pytestmark = pytest.mark.django_db(transaction=True)


EXAMPLES = 25


def test_no_call_ends_in_a_server_error(transactional_db: None) -> None:
    """Every operation, with bodies and parameters made from the document: valid ones, and such as it forbids."""
    _, key = create_api_key(name="schemathesis", scope=Scope.ADMIN)
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())
    operations = [result.ok() for result in schema.get_all_operations()]
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
                case.validate_response(response, checks=[not_a_server_error])
                answered += 1

            with contextlib.suppress(Unsatisfiable):  # nothing can be forbidden where nothing is asked
                drive()
    assert len(operations) >= 18
    assert answered > len(operations) * EXAMPLES


def test_the_document_tells_what_people_need(client: APIClient) -> None:
    document = client.get("/api/schema/", HTTP_ACCEPT="application/json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert {"4XX", "5XX"} <= set(operation["responses"]), (method, path)
            named = {part["name"] for part in operation.get("parameters", []) if part["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), (method, path)


def test_pages_and_document_are_served(client: APIClient) -> None:
    document = client.get("/api/schema/", HTTP_ACCEPT="application/json").json()
    assert {"/api/v1/detect", "/api/v1/verify", "/api/v1/recognize"} <= set(document["paths"])
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "Authorization"
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert b"cdn" not in page.content, "the pages work without the internet"
