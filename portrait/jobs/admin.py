"""Jobs for people: progress, errors by item, cancel."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.core.admin_base import ModelAdmin, TabularInline
from portrait.core.errors import PortraitError
from portrait.jobs import removal, selectors, services, tasks
from portrait.jobs.models import Job, JobItem


class JobItemInline(TabularInline[JobItem, Job]):
    model = JobItem
    fields = ["index", "state", "attempts", "crashes", "failures", "error_code", "error_message", "finished_at"]
    readonly_fields = [
        "index",
        "state",
        "attempts",
        "crashes",
        "failures",
        "error_code",
        "error_message",
        "finished_at",
    ]
    can_delete = False
    extra = 0
    max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[JobItem]":
        return super().get_queryset(request).defer("result")

    def has_add_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ModelAdmin[Job]):
    list_display = ["id", "kind", "state", "progress", "created_at", "finished_at"]
    list_filter = ["kind", "created_at"]
    readonly_fields = [
        "kind",
        "queue",
        "collection_id",
        "subject_id",
        "api_key",
        "parameters",
        "cancelled_at",
        "finished_at",
    ]
    actions = ["cancel", "retry"]
    inlines = [JobItemInline]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Job]":
        return selectors.with_counts(super().get_queryset(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display
    def state(self, job: Job) -> str:
        return selectors.progress_of(job).state

    @admin.display
    def progress(self, job: Job) -> str:
        progress = selectors.progress_of(job)
        return f"{progress.done} done, {progress.failed} failed, of {progress.total}"

    @admin.action(description="Cancel what has not begun", permissions=["change"])
    def cancel(self, request: HttpRequest, jobs: "QuerySet[Job]") -> None:
        for job in jobs:
            services.cancel(job=job)

    @admin.action(description="Retry what failed through no fault of its picture", permissions=["change"])
    def retry(self, request: HttpRequest, jobs: "QuerySet[Job]") -> None:
        for job in jobs:
            try:
                tasks.retry_job(job)
            except PortraitError as error:
                self.message_user(request, f"{job}: {error.message}", messages.WARNING)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its items are not told one by one: they may be a hundred thousand."""
        told = [f"{job}, with its items" for job in objs]
        needed = set() if self.has_delete_permission(request) else {"job"}
        return told, {"jobs": len(told)}, needed, []

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        removal.delete_job(job=obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        for job in queryset:
            removal.delete_job(job=job)
