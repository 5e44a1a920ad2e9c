"""The first-generation API driven by its OpenAPI document: whatever it allows or forbids, no call ends in a 5xx."""

import contextlib

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.portrait.compat.urls")]

EXAMPLES = 25
NO_MODEL = (503, "model_not_installed")
"""What is answered, rightly, where only the small models of our own are there."""


def test_no_call_ends_in_a_server_error(collection: Collection) -> None:
    _, key = create_api_key(name="schemathesis", scope=Scope.ADMIN)
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())
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
                case.validate_response(response, checks=[not_a_server_error])

            with contextlib.suppress(Unsatisfiable):  # nothing can be forbidden where nothing is asked
                drive()
    assert len(operations) == 12
    assert answered > len(operations) * EXAMPLES
