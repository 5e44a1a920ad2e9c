"""Calibrations for people: the curves, the rates, and the threshold taken over or given back."""

import base64
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.calibration.words import words
from portrait.core.admin_base import ModelAdmin
from portrait.core.errors import PortraitError
from portrait.gallery.models import Collection
from portrait.gallery.services.journal import actor_of_user

DEEDS = {"apply": runs.apply, "revert": runs.revert}
SHOWN: list[Any] = ["collection", "model", "state", "curves", "rates", "threshold", "threshold_before", "applied_at"]


@admin.register(CalibrationRun)
class CalibrationRunAdmin(ModelAdmin[CalibrationRun]):
    list_display = ["collection", "created_at", "state", "wanted", "threshold", "in_force", "actor"]
    list_filter = ["collection", "state"]
    list_select_related = ["collection", "model"]
    fields = SHOWN
    readonly_fields = ["curves", "rates"]
    actions = ["apply", "revert"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CalibrationRun | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)  # applied and reverted, never edited

    def get_readonly_fields(self, request: HttpRequest, obj: CalibrationRun | None = None) -> list[str]:
        return [*SHOWN, "reverted_at", "actor"]

    @admin.display(description="false-match rate")
    def wanted(self, run: CalibrationRun) -> str:
        return f"{run.parameters.get('fmr', 0):g}"

    @admin.display(boolean=True)
    def in_force(self, run: CalibrationRun) -> bool:
        return run.in_force

    @admin.display
    def curves(self, run: CalibrationRun) -> SafeString | str:
        """Inside the page: media have no address of their own."""
        if not run.picture:
            return "–" if run.report else "not measured yet"
        try:
            with run.picture.open("rb") as file:
                data = base64.b64encode(file.read()).decode()
        except FileNotFoundError:
            return "The picture's file is missing from the storage."
        alt = "curves of genuine and impostor distances with the threshold"
        return format_html('<img style="max-width:100%" alt="{}" src="data:image/png;base64,{}">', alt, data)

    @admin.display
    def rates(self, run: CalibrationRun) -> SafeString | str:
        lines = words(run.report)
        return format_html_join("", "<p>{}</p>", ((line,) for line in lines)) if lines else "-"

    @admin.action(description="Apply: make its threshold the collection's", permissions=["apply"])
    def apply(self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]") -> HttpResponse | None:
        return self._do(request, queryset, "apply", "The threshold is the collection's now.")

    @admin.action(description="Revert: give the threshold before back", permissions=["apply"])
    def revert(self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]") -> HttpResponse | None:
        return self._do(request, queryset, "revert", "The threshold before is back.")

    def has_apply_permission(self, request: HttpRequest) -> bool:
        """The threshold is the collection's."""
        return request.user.has_perms(["calibration.change_calibrationrun", "gallery.change_collection"])

    def _do(
        self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]", action: str, told: str
    ) -> HttpResponse | None:
        """Asked once more first; who did it stands in the history of the collection."""
        if queryset.count() != 1:
            self.message_user(request, "Choose one calibration.", messages.ERROR)
            return None
        run = queryset.get()
        before = _shown(run.collection.threshold)
        possible = run.threshold is not None if action == "apply" else run.stands
        if possible and not request.POST.get("sure"):
            after = _shown(run.threshold if action == "apply" else run.threshold_before)
            context = {"run": run, "action": action, "before": before, "after": after, "lines": words(run.report)}
            context |= self.admin_site.each_context(request) | {"opts": self.opts, "title": action.capitalize()}
            return TemplateResponse(request, "calibration/apply.html", context)
        try:
            DEEDS[action](run=run, actor=actor_of_user(request.user).name)
        except PortraitError as error:
            self.message_user(request, error.message, messages.ERROR)
            return None
        collection = Collection.objects.get(pk=run.collection_id)
        self.log_change(request, collection, f"Threshold {before} → {_shown(collection.threshold)}: {action} {run.pk}")
        self.message_user(request, told)
        return None


def _shown(threshold: float | None) -> str:
    return "the model's own" if threshold is None else f"{threshold:.4f}"
