"""Jobs in the admin."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from inference.errors import ModelNotInstalledError
from portrait.jobs import tasks
from portrait.jobs.models import Job, JobItem
from tests.portrait.jobs.conftest import Broker, Handler

pytestmark = pytest.mark.django_db(transaction=True)


def test_failed_items_are_retried(make_job: Callable[..., Job], handler: Handler, broker: Broker) -> None:
    def fail(item: JobItem) -> None:
        raise ModelNotInstalledError("centerface")

    handler.work = fail
    job, nothing_failed = make_job(2), make_job()
    tasks.run_item(job.items.all()[0].id)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    body = {"action": "retry", "_selected_action": [str(job.id), str(nothing_failed.id)]}
    answer = client.post(reverse("admin:jobs_job_changelist"), body, follow=True)
    assert [message.level_tag for message in answer.context["messages"]] == ["warning"]
    assert [item.state for item in job.items.all()] == ["waiting", "waiting"]
    assert len(broker) == 1
    assert client.get(reverse("admin:jobs_job_change", args=[job.id])).status_code == 200
