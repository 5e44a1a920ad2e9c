"""Jobs for people: how far each is, what went wrong and why, cancel and retry."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from portrait.console.acting import back_to, told
from portrait.console.templatetags.console import job_title
from portrait.core.admin_base import KeysetAdmin
from portrait.core.keyset import Key, page_of
from portrait.jobs import registry, selectors, services, tasks
from portrait.jobs.admin import JobAdmin
from portrait.jobs.models import ItemState, Job, JobItem

ITEMS_SHOWN = 50
CHANGE = "jobs.change_job"
BY_INDEX = (Key("index", descending=False),)


class EndFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "under way"), ("ended", "ended"), ("failed", "ended, with failures")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        if self.value() == "open":
            return queryset.filter(finished_at=None)
        if self.value() in ("ended", "failed"):
            queryset = queryset.exclude(finished_at=None)
        failed = JobItem.objects.filter(state=ItemState.FAILED).values("job")
        return queryset.filter(pk__in=failed) if self.value() == "failed" else queryset


class KindFilter(SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, job_title(kind)) for kind in registry.kinds()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        return queryset.filter(kind=self.value()) if self.value() else queryset


admin.site.unregister(Job)


@admin.register(Job)
class ProgressAdmin(KeysetAdmin[Job], JobAdmin):
    """Lists with progress, and a page a job."""

    list_display = ["kind", "created_at"]
    list_display_links = None
    list_filter = [EndFilter, KindFilter]
    sortable_by = ()
    keyset_ordering = ("-created_at",)
    change_list_template = "console/own_list.html"
    list_after_template = "console/jobs_list.html"
    change_form_template = "console/job.html"
    inlines = []
    fields = []
    readonly_fields = []

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Job]":
        return super(JobAdmin, self).get_queryset(request).defer("parameters")

    def complete(self, rows: list[Job]) -> None:
        selectors.attach_counts(rows)
        for job in rows:
            job.progress = selectors.progress_of(job)  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:pk>/cancel/", wrap(self.cancel_one), name="jobs_job_cancel"),
            path("<uuid:pk>/retry/", wrap(self.retry_one), name="jobs_job_retry"),
            path("<uuid:pk>/progress/", wrap(self.progress_piece), name="jobs_job_progress"),
        ]
        return [*own, *super().get_urls()]

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)  # cancelled and retried, never edited

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        job = self.get_object(request, object_id)
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if request.method == "GET" and self.has_view_permission(request, job):
            extra_context = {**(extra_context or {}), **_context_of(request, job)}
        return super().change_view(request, object_id, form_url, extra_context)

    def cancel_one(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Stop what has not begun. By POST alone."""
        return _act(request, pk, lambda job: services.cancel(job=job), "What had not begun is cancelled.")

    def retry_one(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Do again what failed through no fault of its own. By POST alone."""
        return _act(request, pk, tasks.retry_job, "What failed is tried again.")

    def progress_piece(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The bar alone, which the page asks for again and again while the job runs."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = Job.objects.filter(pk=pk).defer("parameters").first()
        if job is None:
            raise Http404("There is no such job.")
        self.complete([job])
        return TemplateResponse(request, "console/job_progress.html", {"job": job, "progress": job.progress})  # type: ignore[attr-defined]


def _act(request: HttpRequest, pk: UUID, do: Any, done: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    job = Job.objects.filter(pk=pk).first()
    if job is None:
        raise Http404("There is no such job.")
    with told(request):
        do(job)
        messages.success(request, done)
    return redirect(back_to(request, reverse("admin:jobs_job_change", args=[pk])))


def _context_of(request: HttpRequest, job: Job) -> dict[str, Any]:
    """The progress, the reasons of failures by how often each came, and a page of items."""
    selectors.attach_counts([job])
    progress = selectors.progress_of(job)
    state = request.GET.get("state", "failed" if progress.failed else "")
    items = job.items.defer("result")
    shown = items.filter(state=state) if state in ItemState.values else items
    after, before = request.GET.get("_after", ""), request.GET.get("_before", "")
    page = page_of(shown, BY_INDEX, ITEMS_SHOWN, after=after, before=before)
    failed = items.filter(state=ItemState.FAILED).order_by()
    reasons = failed.values("error_code").annotate(number=Count("pk")).order_by("-number") if progress.failed else []
    return {
        "job": job,
        "progress": progress,
        "items": page,
        "item_state": state if state in ItemState.values else "",
        "states": [(each, getattr(progress, each)) for each in ItemState.values if getattr(progress, each)],
        "reasons": list(reasons),
        "retryable": selectors.retryable_of(job),
        "may_change": request.user.has_perm(CHANGE),
        "title": job_title(job.kind),
    }
