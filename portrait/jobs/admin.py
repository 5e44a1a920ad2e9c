"""Jobs for people: progress, errors by item, cancel."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.jobs import selectors, services
from portrait.jobs.models import Job, JobItem


class JobItemInline(admin.TabularInline[JobItem, Job]):
    model = JobItem
    fields = ["index", "state", "attempts", "error_code", "error_message", "finished_at"]
    readonly_fields = ["index", "state", "attempts", "error_code", "error_message", "finished_at"]
    can_delete = False
    extra = 0
    max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[JobItem]":
        return super().get_queryset(request).defer("result")

    def has_add_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(admin.ModelAdmin[Job]):
    list_display = ["id", "kind", "state", "progress", "created_at", "finished_at"]
    list_filter = ["kind", "created_at"]
    readonly_fields = ["kind", "queue", "collection_id", "api_key", "parameters", "cancelled_at", "finished_at"]
    actions = ["cancel"]
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

    @admin.action(description="Cancel what has not begun")
    def cancel(self, request: HttpRequest, jobs: "QuerySet[Job]") -> None:
        for job in jobs:
            services.cancel(job=job)

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        services.delete_job(job=obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        for job in queryset:
            services.delete_job(job=job)
