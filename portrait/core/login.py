"""The admin's login form, which does not let passwords be guessed."""

from math import ceil
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from portrait.core.throttling import Counter, address_of

if TYPE_CHECKING:  # unfold has no types; its form is Django's with another look
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
else:
    from unfold.forms import AuthenticationForm

MAX_FAILURES = 10
WINDOW_S = 300


class LimitedLoginForm(AuthenticationForm):
    """After `MAX_FAILURES` wrong passwords for a name from an address even the right one is refused, until the
    window of `WINDOW_S` is over."""

    def clean(self) -> dict[str, Any]:
        if self.request is None or "username" not in self.cleaned_data or "password" not in self.cleaned_data:
            return super().clean()
        name = str(self.cleaned_data["username"])
        failures = Counter("login", name, address_of(self.request), window_s=WINDOW_S)
        # Counted before the password is looked at: of many tries at the same time none slips through.
        if failures.add() > MAX_FAILURES:
            minutes = ceil(failures.left_s / 60)
            wait = "a minute" if minutes == 1 else f"{minutes} minutes"
            raise ValidationError(
                f"Too many failed tries to sign in with this name: wait {wait}, then try again.", code="throttled"
            )
        cleaned = super().clean()
        failures.clear()
        return cleaned
