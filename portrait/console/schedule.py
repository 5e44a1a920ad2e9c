"""The schedule: what beat starts, and when. Editable, but nobody switches off by mistake what frames depend on."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin as BeatAdmin
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from unfold.widgets import UnfoldAdminTextInputWidget

from portrait.core.admin_base import ModelAdmin
from portrait.upkeep.schedule import ENTRIES, is_vital

admin.site.unregister([PeriodicTask, ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule])

WARNING = "Without it work stays undone, or what must go stays: frames may wait for ever, data be kept too long."
OFTEN_ENOUGH = 12
"""So many times slower than intended a vital task may run before somebody has to say that he means it."""


SHORTEST = timedelta(seconds=1)
TOO_OFTEN = "At most once a second: more often would flood the broker and the workers."


class IntervalForm(forms.ModelForm[IntervalSchedule]):
    """An interval that is not there yet."""

    class Meta:
        model = IntervalSchedule
        fields = ["every", "period"]

    def clean(self) -> dict[str, Any] | None:
        asked = super().clean() or {}
        every, period = asked.get("every"), asked.get("period")
        if not every or not period:
            return asked
        if IntervalSchedule(every=every, period=period).schedule.run_every < SHORTEST:
            self.add_error("every", TOO_OFTEN)
        elif IntervalSchedule.objects.filter(every=every, period=period).exists():
            self.add_error(None, "There is this interval already: choose it on the task's page.")
        return asked


class TaskForm(forms.ModelForm[PeriodicTask]):
    """When a task runs. What it does is code: tasks are neither added nor renamed here."""

    sure = forms.BooleanField(required=False, label="Yes, I mean it", help_text=WARNING)

    class Meta:
        model = PeriodicTask
        fields = ["enabled", "interval", "crontab"]

    def clean(self) -> dict[str, Any] | None:
        asked = super().clean() or {}
        if bool(asked.get("interval")) == bool(asked.get("crontab")):
            self.add_error(None, "Choose an interval or a crontab: one of them.")
            return asked
        interval = asked.get("interval")
        if interval is not None and interval.schedule.run_every < SHORTEST:
            self.add_error("interval", TOO_OFTEN)
            return asked
        problem = self._problem(asked)
        if problem and not asked.get("sure"):
            self.add_error("sure", f"{problem} {WARNING} Tick this box if that is what you want.")
        return asked

    def _problem(self, asked: dict[str, Any]) -> str:
        """Why a vital task would not do its work any more."""
        if not is_vital(self.instance.name):
            return ""
        if not asked.get("enabled"):
            return "This switches off a task that the service depends on."
        meant = next(entry.every_s for entry in ENTRIES if entry.name == self.instance.name)
        interval = asked.get("interval")
        if interval is None or interval.schedule.run_every.total_seconds() > OFTEN_ENOUGH * meant:
            return f"This task is meant to run every {meant} s, and would run much less often."
        return ""


def in_words(span: timedelta) -> str:
    """5 s, 10 min, 6 h, 1 day."""
    seconds = span.total_seconds()
    for size, unit in ((86_400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            number = int(seconds // size)
            return f"{number}\N{NO-BREAK SPACE}{unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{seconds:g}\N{NO-BREAK SPACE}s"


@admin.register(PeriodicTask)
class ScheduleAdmin(ModelAdmin[PeriodicTask]):
    """Tasks in words, with their times."""

    form = TaskForm
    list_display = ["name", "what", "runs", "on", "last_run_at", "times_run"]
    list_display_links = ["name"]
    list_select_related = ["interval", "crontab"]
    list_filter = ["enabled"]
    search_fields = ["name"]
    fields = ["name", "what", "warning", "enabled", "interval", "crontab", "sure", "last_run_at", "task", "queue"]
    readonly_fields = ["name", "what", "warning", "last_run_at", "task", "queue"]
    actions = ["run_now", "switch_on", "switch_off"]
    ordering = ["name"]

    @admin.display(description="what it does")
    def what(self, task: PeriodicTask) -> str:
        return str(task.description or "–")

    @admin.display(description="runs")
    def runs(self, task: PeriodicTask) -> str:
        if task.interval is not None:
            return f"every {in_words(task.interval.schedule.run_every)}"
        return str(task.crontab.human_readable if task.crontab else task.solar or task.clocked or "–")

    @admin.display(description="on", ordering="enabled")
    def on(self, task: PeriodicTask) -> SafeString | str:
        if task.enabled:
            return "on"
        style = "portrait-bad" if is_vital(task.name) else "portrait-muted"
        text = "OFF: the service depends on it" if is_vital(task.name) else "off"
        return format_html('<span class="{}">{}</span>', style, text)

    @admin.display(description="")
    def warning(self, task: PeriodicTask) -> SafeString | str:
        if not is_vital(task.name):
            return "This task may be switched off: nothing is lost without it."
        return format_html('<span class="portrait-bad">The service depends on this task. {}</span>', WARNING)

    @admin.display(description="runs so far", ordering="total_run_count")
    def times_run(self, task: PeriodicTask) -> int:
        return int(task.total_run_count)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # which tasks there are is code (`upkeep.schedule`)

    def has_delete_permission(self, request: HttpRequest, obj: PeriodicTask | None = None) -> bool:
        return False  # it would come back with the next start; it can be switched off

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if is_vital(obj.name) and not obj.enabled:
            messages.warning(request, f"{obj.name} is off now. {WARNING}")

    @admin.action(description="Run now", permissions=["change"])
    def run_now(self, request: HttpRequest, chosen: "QuerySet[PeriodicTask]") -> None:
        BeatAdmin(PeriodicTask, self.admin_site).run_tasks(request, chosen)

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, chosen: "QuerySet[PeriodicTask]") -> None:
        chosen.update(enabled=True)
        PeriodicTasks.update_changed()

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, chosen: "QuerySet[PeriodicTask]") -> None:
        """Only what the service can do without; the others one by one, on their page, where the warning is."""
        vital = [task for task in chosen if is_vital(task.name)]
        chosen.exclude(pk__in=[task.pk for task in vital]).update(enabled=False, last_run_at=None)
        PeriodicTasks.update_changed()
        for task in vital:
            messages.warning(request, f"{task.name} stays on: {WARNING} Open its page if you mean it.")


@admin.register(IntervalSchedule)
class IntervalAdmin(ModelAdmin[IntervalSchedule]):
    """Every so many seconds, minutes, ... Reached from a task's page."""

    form = IntervalForm

    def has_delete_permission(self, request: HttpRequest, obj: IntervalSchedule | None = None) -> bool:
        return False  # it would take the tasks that use it along

    def has_change_permission(self, request: HttpRequest, obj: IntervalSchedule | None = None) -> bool:
        return False  # several tasks may share it: choose or add another one on the task's page


@admin.register(CrontabSchedule)
class CrontabAdmin(ModelAdmin[CrontabSchedule]):
    """At times of the day or week. Reached from a task's page."""

    fields = ["minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"]
    list_display = ["__str__", "human_readable"]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.fields[:-1]:
            kwargs["widget"] = UnfoldAdminTextInputWidget()
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: CrontabSchedule | None = None) -> bool:
        return False  # as above

    def has_change_permission(self, request: HttpRequest, obj: CrontabSchedule | None = None) -> bool:
        return False
