"""Calibrations for people: the curves, the rates, and the threshold taken over or given back."""

import base64
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.calibration.words import words
from portrait.core.admin_base import ModelAdmin
from portrait.core.errors import PortraitError
from portrait.gallery.services.journal import actor_of_user

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
            return str(run.report.get("refused", "not measured yet"))
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

    @admin.action(description="Apply: make its threshold the collection's", permissions=["change"])
    def apply(self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]") -> None:
        self._do(request, queryset, runs.apply, "The threshold is the collection's now.")

    @admin.action(description="Revert: give the threshold before back", permissions=["change"])
    def revert(self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]") -> None:
        self._do(request, queryset, runs.revert, "The threshold before is back.")

    def _do(self, request: HttpRequest, queryset: "QuerySet[CalibrationRun]", call: Any, told: str) -> None:
        try:
            call(run=queryset.get(), actor=actor_of_user(request.user).name)
        except CalibrationRun.MultipleObjectsReturned:
            self.message_user(request, "Choose one calibration.", messages.ERROR)
        except PortraitError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, told)
